"""How the kinds of the country world are drawn."""

from __future__ import annotations

from promu.corpora.newsreel.kinds import DARK, WHITE, Paint, Pen, Silhouette, shade


def _farmer(pen: Pen, paint: Paint) -> None:
    pen.oval((215, 185, 95), 0.08, 0.1, 0.92, 0.22)
    pen.rect((215, 185, 95), 0.3, 0.0, 0.7, 0.16)
    pen.oval(paint.skin, 0.32, 0.14, 0.68, 0.32)
    pen.rect((200, 60, 50), 0.14, 0.32, 0.86, 0.52)
    pen.rect(paint.main, 0.26, 0.38, 0.74, 0.7)
    pen.rect(paint.main, 0.26, 0.66, 0.46, 1.0)
    pen.rect(paint.main, 0.54, 0.66, 0.74, 1.0)
    pen.line((120, 85, 50), 0.07, (0.96, 0.2), (0.96, 1.0))


def _cook(pen: Pen, paint: Paint) -> None:
    for left in (0.18, 0.38, 0.54):
        pen.oval(WHITE, left, 0.0, left + 0.3, 0.2)
    pen.rect(WHITE, 0.28, 0.1, 0.72, 0.22)
    pen.oval(paint.skin, 0.32, 0.2, 0.68, 0.38)
    pen.rect(WHITE, 0.12, 0.38, 0.88, 0.56)
    pen.poly(paint.main, (0.26, 0.42), (0.74, 0.42), (0.82, 0.86), (0.18, 0.86))
    pen.rect(DARK, 0.28, 0.86, 0.44, 1.0)
    pen.rect(DARK, 0.56, 0.86, 0.72, 1.0)


def _clown(pen: Pen, paint: Paint) -> None:
    pen.oval((235, 120, 30), 0.08, 0.08, 0.4, 0.32)
    pen.oval((235, 120, 30), 0.6, 0.08, 0.92, 0.32)
    pen.oval(WHITE, 0.28, 0.02, 0.72, 0.32)
    pen.oval((225, 30, 40), 0.43, 0.14, 0.57, 0.23)
    pen.poly(paint.main, (0.5, 0.28), (0.98, 0.72), (0.74, 1.0), (0.26, 1.0), (0.02, 0.72))
    for y in (0.46, 0.62, 0.78):
        pen.oval((250, 220, 60), 0.43, y, 0.57, y + 0.09)


def _diver(pen: Pen, paint: Paint) -> None:
    pen.rect((240, 200, 40), 0.04, 0.3, 0.24, 0.72)
    pen.oval(paint.main, 0.26, 0.0, 0.78, 0.32)
    pen.oval((150, 220, 245), 0.34, 0.08, 0.72, 0.24)
    pen.rect(paint.main, 0.22, 0.3, 0.8, 0.68)
    pen.rect(paint.main, 0.26, 0.66, 0.46, 0.9)
    pen.rect(paint.main, 0.56, 0.66, 0.76, 0.9)
    pen.poly((240, 200, 40), (0.26, 0.88), (0.46, 0.88), (0.5, 1.0), (0.06, 1.0))
    pen.poly((240, 200, 40), (0.56, 0.88), (0.76, 0.88), (0.98, 1.0), (0.54, 1.0))


def _nurse(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.hair, 0.26, 0.04, 0.74, 0.3)
    pen.oval(paint.skin, 0.34, 0.08, 0.66, 0.29)
    pen.rect(WHITE, 0.3, 0.0, 0.7, 0.1)
    pen.rect((220, 30, 45), 0.47, 0.01, 0.53, 0.09)
    pen.poly(paint.main, (0.22, 0.3), (0.78, 0.3), (0.88, 0.88), (0.12, 0.88))
    pen.rect(WHITE, 0.34, 0.42, 0.66, 0.8)
    pen.rect((220, 30, 45), 0.46, 0.48, 0.54, 0.7)
    pen.rect((220, 30, 45), 0.39, 0.55, 0.61, 0.63)
    pen.rect(paint.skin, 0.34, 0.88, 0.44, 1.0)
    pen.rect(paint.skin, 0.56, 0.88, 0.66, 1.0)


def _pennant(pen: Pen, paint: Paint) -> None:
    pen.rect((95, 70, 45), 0.0, 0.0, 0.08, 1.0)
    pen.poly(paint.main, (0.08, 0.04), (1.0, 0.34), (0.08, 0.64))
    pen.poly(WHITE, (0.08, 0.24), (0.55, 0.34), (0.08, 0.44))


def _signboard(pen: Pen, paint: Paint) -> None:
    pen.rect((95, 70, 45), 0.16, 0.5, 0.26, 1.0)
    pen.rect((95, 70, 45), 0.74, 0.5, 0.84, 1.0)
    pen.rect(DARK, 0.0, 0.0, 1.0, 0.62)
    pen.rect(paint.main, 0.05, 0.06, 0.95, 0.56)
    for y in (0.16, 0.34):
        pen.rect(WHITE, 0.14, y, 0.86, y + 0.09)


def _logo(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.main, 0.0, 0.0, 1.0, 1.0)
    pen.poly(WHITE, (0.5, 0.12), (0.82, 0.78), (0.18, 0.78))
    pen.oval(paint.main, 0.38, 0.44, 0.62, 0.68)


def _mill(pen: Pen, paint: Paint) -> None:
    pen.poly(paint.main, (0.36, 0.36), (0.64, 0.36), (0.78, 1.0), (0.22, 1.0))
    pen.poly(shade(paint.main, 0.6), (0.32, 0.38), (0.5, 0.22), (0.68, 0.38))
    pen.line(WHITE, 0.09, (0.04, 0.06), (0.96, 0.7))
    pen.line(WHITE, 0.09, (0.96, 0.06), (0.04, 0.7))
    pen.rect(DARK, 0.44, 0.8, 0.56, 1.0)


def _barn(pen: Pen, paint: Paint) -> None:
    pen.poly(shade(paint.main, 0.55), (0.0, 0.42), (0.2, 0.12), (0.5, 0.0), (0.8, 0.12), (1.0, 0.42))
    pen.rect(paint.main, 0.06, 0.4, 0.94, 1.0)
    pen.rect(WHITE, 0.34, 0.56, 0.66, 1.0)
    pen.line(paint.main, 0.06, (0.34, 0.56), (0.66, 1.0))
    pen.line(paint.main, 0.06, (0.66, 0.56), (0.34, 1.0))


def _island(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.main, 0.0, 0.66, 1.0, 1.2)
    pen.line((130, 90, 50), 0.09, (0.48, 0.76), (0.54, 0.24))
    for x, y in ((0.14, 0.3), (0.26, 0.04), (0.84, 0.06), (0.94, 0.34)):
        pen.line((40, 150, 60), 0.11, (0.54, 0.22), (x, y))


def _lighthouse(pen: Pen, paint: Paint) -> None:
    pen.poly((250, 225, 90), (0.5, 0.1), (0.0, 0.0), (0.0, 0.2))
    pen.rect(DARK, 0.36, 0.02, 0.64, 0.18)
    pen.poly(WHITE, (0.36, 0.18), (0.64, 0.18), (0.8, 1.0), (0.2, 1.0))
    for top in (0.3, 0.56, 0.82):
        pen.rect(paint.main, 0.29, top, 0.71, top + 0.12)


def _cake(pen: Pen, paint: Paint) -> None:
    pen.rect(shade(paint.main, 0.7), 0.0, 0.56, 1.0, 1.0)
    pen.rect(WHITE, 0.0, 0.5, 1.0, 0.66)
    pen.rect(paint.main, 0.18, 0.26, 0.82, 0.54)
    for x in (0.28, 0.47, 0.66):
        pen.rect((250, 235, 150), x, 0.06, x + 0.07, 0.28)


def _rosette(pen: Pen, paint: Paint) -> None:
    pen.poly(shade(paint.main, 0.75), (0.26, 0.5), (0.5, 0.6), (0.3, 1.0), (0.1, 0.86))
    pen.poly(shade(paint.main, 0.75), (0.74, 0.5), (0.5, 0.6), (0.7, 1.0), (0.9, 0.86))
    for x, y in ((0.5, 0.16), (0.24, 0.28), (0.76, 0.28), (0.34, 0.52), (0.66, 0.52)):
        pen.oval(paint.main, x - 0.2, y - 0.16, x + 0.2, y + 0.16)
    pen.oval(WHITE, 0.32, 0.2, 0.68, 0.5)


def _drum(pen: Pen, paint: Paint) -> None:
    pen.rect(paint.main, 0.0, 0.24, 1.0, 0.84)
    pen.oval(shade(paint.main, 0.7), 0.0, 0.7, 1.0, 1.0)
    pen.oval((245, 235, 205), 0.0, 0.1, 1.0, 0.4)
    pen.line((245, 235, 205), 0.05, (0.02, 0.4), (0.25, 0.84), (0.5, 0.4), (0.75, 0.84), (0.98, 0.4))
    pen.line((110, 75, 45), 0.07, (0.2, 0.0), (0.5, 0.24))


def _horse(pen: Pen, paint: Paint) -> None:
    for left in (0.16, 0.28, 0.56, 0.68):
        pen.rect(shade(paint.main, 0.8), left, 0.6, left + 0.08, 1.0)
    pen.line(DARK, 0.08, (0.14, 0.44), (0.02, 0.8))
    pen.oval(paint.main, 0.1, 0.36, 0.78, 0.7)
    pen.poly(paint.main, (0.58, 0.5), (0.72, 0.06), (0.86, 0.06), (0.78, 0.58))
    pen.poly(paint.main, (0.72, 0.04), (1.0, 0.2), (0.96, 0.32), (0.72, 0.24))
    pen.line(DARK, 0.07, (0.72, 0.02), (0.58, 0.44))


def _fish(pen: Pen, paint: Paint) -> None:
    pen.poly(shade(paint.main, 0.75), (0.26, 0.5), (0.0, 0.1), (0.0, 0.9))
    pen.oval(paint.main, 0.16, 0.08, 1.0, 0.92)
    pen.oval(WHITE, 0.72, 0.28, 0.88, 0.5)
    pen.oval(DARK, 0.78, 0.34, 0.86, 0.46)
    pen.line(WHITE, 0.07, (0.56, 0.2), (0.48, 0.5), (0.56, 0.8))


def _kite(pen: Pen, paint: Paint) -> None:
    pen.poly(paint.main, (0.5, 0.0), (0.94, 0.34), (0.5, 0.74), (0.06, 0.34))
    pen.poly(shade(paint.main, 0.6), (0.5, 0.0), (0.5, 0.74), (0.06, 0.34))
    pen.line(WHITE, 0.05, (0.5, 0.74), (0.36, 0.84), (0.6, 0.92), (0.44, 1.0))


def _bicycle(pen: Pen, paint: Paint) -> None:
    pen.hoop(DARK, 0.07, 0.0, 0.4, 0.42, 1.0)
    pen.hoop(DARK, 0.07, 0.58, 0.4, 1.0, 1.0)
    pen.line(paint.main, 0.1, (0.21, 0.7), (0.4, 0.26), (0.7, 0.26), (0.5, 0.72), (0.21, 0.7))
    pen.line(paint.main, 0.09, (0.4, 0.26), (0.5, 0.72))
    pen.line(DARK, 0.09, (0.79, 0.7), (0.68, 0.06), (0.84, 0.04))
    pen.rect(DARK, 0.3, 0.14, 0.48, 0.22)


def _apple(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.main, 0.0, 0.2, 0.6, 0.96)
    pen.oval(paint.main, 0.4, 0.2, 1.0, 0.96)
    pen.line((100, 70, 40), 0.08, (0.5, 0.3), (0.54, 0.02))
    pen.oval((60, 160, 60), 0.54, 0.02, 0.88, 0.18)


def _umbrella(pen: Pen, paint: Paint) -> None:
    pen.rect(DARK, 0.47, 0.4, 0.53, 0.94)
    pen.hoop(DARK, 0.06, 0.3, 0.84, 0.53, 1.0)
    pen.poly(paint.main, (0.0, 0.48), (0.12, 0.18), (0.36, 0.02), (0.64, 0.02), (0.88, 0.18), (1.0, 0.48))
    pen.poly(shade(paint.main, 1.35), (0.34, 0.48), (0.44, 0.02), (0.56, 0.02), (0.66, 0.48))


COUNTRY_SILHOUETTES: dict[str, Silhouette] = {
    "farmer": _farmer, "cook": _cook, "clown": _clown, "diver": _diver, "nurse": _nurse,
    "pennant": _pennant, "signboard": _signboard, "logo": _logo,
    "mill": _mill, "barn": _barn, "island": _island, "lighthouse": _lighthouse,
    "cake": _cake, "rosette": _rosette, "drum": _drum, "horse": _horse, "fish": _fish, "kite": _kite,
    "bicycle": _bicycle, "apple": _apple, "umbrella": _umbrella,
}  # fmt: skip
"""Kind name to silhouette."""
