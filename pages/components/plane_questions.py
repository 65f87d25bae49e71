"""What the Plane answers: questions, and the settings that show the answers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """What somebody may want to find out: the settings that show it, and what to look for."""

    says: str
    walks: tuple[str, ...]
    label: str = "all"
    guidance: float = 1.0
    arrows: str | None = None
    at: float = 1.0


QUESTIONS = {
    "Is flow matching another model?": Question(
        "No. Drawn to the same scale, both walks begin with the same noise, follow the same curves and end at nearly "
        "the same points (the rest is the error of 50 steps); at the same noise level the arrows are the same too, and "
        "a walk goes against them. Flow matching spends its steps at other noise levels, and its network learns "
        "u = eps − x0 where others learn the noise or v. The line from one noise to one point is straight; but many "
        "points fit one $x_t$, a network learns the average over them, and so the walk bends in both.",
        ("DDIM, 50 steps", "DDIM, 50 steps, rectified flow"), arrows="v", at=0.75,
    ),
    "Why do few steps fail?": Question(
        "A step goes straight on, and the way is a curve. One step from noise goes to the guess there, which is the "
        "mean of all data: every point ends in the middle. With five the guess gets better when most of the way is "
        "gone, and points stop between the clusters. Fifty follow the curve.",
        ("DDIM, 1 step", "DDIM, 5 steps", "DDIM, 50 steps"),
    ),
    "What does guidance do?": Question(
        "Grey is where class 0 really is. At guidance 1 the points fill it. At 3 they leave it, away from the other "
        "class, and crowd: every guess is pushed from the one without a class past the one with it. Guidance does not "
        "draw the class more truly, it draws what is easiest to tell from the rest. The chart says how far the points "
        "leave at every scale. Move **Guidance** to 1 and back.",
        ("DDIM, 50 steps",), label="0", guidance=3.0,
    ),
    "What is the score?": Question(
        "The arrows point uphill on the grey, to where $x_t$ is more likely: the score is the gradient of the "
        "logarithm of the density. Move the slider to the left, to more noise: all arrows point to the middle of the "
        "data; to the right, each to the cluster that is near. Then choose eps below: the same arrows turned round, "
        "since eps = −s · score, where s is the share of noise in $x_t$. A network that predicts the noise has learned "
        "the score.",
        ("DDIM, 50 steps",), arrows="score", at=0.8,
    ),
}  # fmt: skip
