"""A run as one SVG: time to an answer above, calls a second below, faults as vertical lines through both."""

import math
from html import escape

WIDTH, LEFT, RIGHT, TOP, PANEL, GAP = 960, 70, 24, 64, 190, 64
HEIGHT = TOP + 2 * PANEL + GAP + 60
STYLE = """
svg { --ground: #ffffff; --ink: #1f2328; --faint: #d0d7de; --fault: #b35900; --back: #57606a;
      --a: #0550ae; --b: #6e40c9; --good: #1a7f37; --wait: #9a6700; --bad: #cf222e; }
@media (prefers-color-scheme: dark) {
  svg { --ground: #0d1117; --ink: #e6edf3; --faint: #30363d; --fault: #f0883e; --back: #8b949e;
        --a: #79c0ff; --b: #d2a8ff; --good: #56d364; --wait: #e3b341; --bad: #ff7b72; }
}
text { font: 12px system-ui, sans-serif; fill: var(--ink); } .title { font-size: 15px; font-weight: 600; }
.grid { stroke: var(--faint); } .line { fill: none; stroke-width: 1.8; } .dashed { stroke-dasharray: 5 3; }
.mark { stroke-dasharray: 3 3; } .small { font-size: 10px; }
"""
LATENCY = [("p50", "median", "--a", ""), ("p99", "99th percentile", "--b", "dashed")]
RATES = [
    ("done", "served", "--good", ""), ("refused", "refused", "--wait", "dashed"), ("notices", "notices", "--back", "dashed"),
    ("lost", "failed or unknown", "--bad", ""),
]


def draw(title: str, seconds: list, marks: list) -> str:
    """`seconds` are the records of series.by_second, `marks` what happened when."""
    seconds = [{**it, "lost": it["failed"] + it["unknown"]} for it in seconds]
    last = max(len(seconds) - 1, 1)

    def across(second: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(second, 0), last) / last

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>", f'<rect width="{WIDTH}" height="{HEIGHT}" style="fill:var(--ground)"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        *panel(TOP, "time to an answer, ms", LATENCY, seconds, across, logarithmic),
        *panel(TOP + PANEL + GAP, "calls a second", RATES, seconds, across, linear),
        *time_axis(last, across), *mark_lines(marks, across), "</svg>",
    ]
    return "\n".join(parts) + "\n"


def panel(top, label, lines, seconds, across, scale):
    """One pair of axes with its lines; the legend stands above it."""
    values = [it[key] for it in seconds for key, *_ in lines if it[key] is not None]
    up, ticks = scale(values or [1])

    def height(value):
        return top + PANEL - PANEL * up(value)

    yield f'<text x="16" y="{top + PANEL / 2}" transform="rotate(-90 16 {top + PANEL / 2})" text-anchor="middle">{label}</text>'
    for tick in ticks:
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height(tick):.1f}" y2="{height(tick):.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{height(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for place, (key, name, color, dash) in enumerate(lines):
        x = LEFT + 150 * place
        yield f'<line class="line {dash}" x1="{x}" x2="{x + 24}" y1="{top - 12}" y2="{top - 12}" style="stroke:var({color})"/>'
        yield f'<text x="{x + 30}" y="{top - 8}">{name}</text>'
        yield f'<path class="line {dash}" d="{path(seconds, key, across, height)}" style="stroke:var({color})"/>'


def path(seconds, key, across, height) -> str:
    """Seconds without a value break the line."""
    steps, pen = [], "M"
    for it in seconds:
        if it[key] is None:
            pen = "M"
            continue
        steps.append(f"{pen}{across(it['second'] + 0.5):.1f} {height(it[key]):.1f}")
        pen = "L"
    return " ".join(steps)


def logarithmic(values):
    """From one power of ten to another: a stall of seconds stands beside answers of a millisecond."""
    low = math.floor(math.log10(max(min(values), 0.01)))
    high = max(math.ceil(math.log10(max(max(values), 0.01))), low + 1)
    return lambda value: (math.log10(max(value, 10**low)) - low) / (high - low), [10.0**power for power in range(low, high + 1)]


def linear(values):
    most = max(max(values), 1)
    step = 10 ** math.floor(math.log10(most))
    step = next(it for it in (step / 5, step / 2, step, 2 * step) if most / it <= 6)
    count = math.ceil(most / step)
    return lambda value: value / (count * step), [step * it for it in range(count + 1)]


def time_axis(last, across):
    step = next((it for it in (1, 2, 5, 10, 20, 30, 60, 120, 300) if last / it <= 12), 600)
    bottom = TOP + 2 * PANEL + GAP
    for second in range(0, last + 1, step):
        yield f'<text x="{across(second):.1f}" y="{bottom + 18}" text-anchor="middle">{second}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 40}" text-anchor="middle">seconds since the load began</text>'


def mark_lines(marks, across):
    bottom = TOP + 2 * PANEL + GAP
    for row, mark in enumerate(marks):
        x, color = across(mark["seconds"]), "--fault" if mark["kind"] == "fault" else "--back"
        y = TOP + PANEL + 12 + 11 * (row % 3)
        yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" style="stroke:var({color})"/>'
        yield f'<text class="small" x="{x + 2:.1f}" y="{y}" style="fill:var({color})">{escape(mark["what"])}</text>'
