# SPDX-License-Identifier: Apache-2.0
"""A game: sixty frames a second belong to the game, and a part of each to its characters.

Every character is a task that says what it does, one line after the other, and knows nothing of frames.
"""

from __future__ import annotations

import time

import giambio
from giambio.hosting import run_for

FRAME = 1 / 60
FOR_TASKS = 0.25 * FRAME


class Scene:
    def __init__(self) -> None:
        self.positions: dict[str, int] = {}
        self.frames = 0

    def draw(self) -> str:
        self.frames += 1
        row = ["."] * 11
        for name, position in self.positions.items():
            row[position] = name[0]
        return "".join(row)


async def walk(scene: Scene, name: str, steps: int, pause: float) -> None:
    for position in range(steps + 1):
        scene.positions[name] = position
        await giambio.sleep(pause)


async def play(scene: Scene) -> None:
    async with giambio.create_pool() as pool:
        pool.spawn(walk, scene, "tortoise", 10, 0.02)
        pool.spawn(walk, scene, "hare", 5, 0.01)


def main() -> None:
    scene = Scene()
    with giambio.AsyncScheduler() as loop:
        loop.start(play, scene, loop=False)
        next_frame = time.monotonic()
        while run_for(loop, FOR_TASKS):
            print(scene.draw())
            next_frame += FRAME
            time.sleep(max(0.0, next_frame - time.monotonic()))
    print(scene.draw())


if __name__ == "__main__":
    main()
