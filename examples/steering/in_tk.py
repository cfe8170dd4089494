# SPDX-License-Identifier: Apache-2.0
"""A window whose buttons start tasks: Tk drives, and nothing needs a thread."""

from __future__ import annotations

import tkinter as tk

import giambio
from giambio.hosting import TkHost, start_in


class App:
    def __init__(self, root: tk.Tk) -> None:
        self.label = tk.Label(root, text="ready", width=30)
        self.button = tk.Button(root, text="Count", command=self.clicked)
        self.label.pack(padx=20, pady=10)
        self.button.pack(pady=10)
        self.clicks, self.on_click = giambio.open_memory_channel(10)

    def clicked(self) -> None:
        # Plain functions may be called from Tk's callbacks.
        try:
            self.clicks.send_nowait(None)
        except giambio.WouldBlock:
            self.label["text"] = "one after the other, please"

    async def run(self) -> None:
        async for _ in self.on_click:
            for number in range(3):
                self.label["text"] = f"counting: {number}"
                await giambio.sleep(0.3)
            self.label["text"] = "ready"


def main() -> None:
    root = tk.Tk()
    root.title("giambio in Tk")
    app = App(root)
    with start_in(TkHost(root), app.run):
        root.mainloop()


if __name__ == "__main__":
    main()
