"""A run as one SVG: time to an answer above, calls a second below, over time or over load; faults as vertical lines."""

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


def over_time(title: str, seconds: list, marks: list) -> str:
    """`seconds` are the records of series.by_second, `marks` what happened when."""
    return draw(title, [{**it, "x": it["second"] + 0.5} for it in seconds], "seconds since the load began", marks)


def over_load(title: str, steps: list) -> str:
    """`steps` are the records of curve.steps: the same quantities, by what was offered."""
    return draw(title, [{**it, "x": it["offered"]} for it in steps], "calls offered a second", [])


def draw(title: str, records: list, abscissa: str, marks: list) -> str:
    records = [{**it, "lost": it["failed"] + it["unknown"]} for it in records]
    last = max([math.ceil(it["x"]) for it in records], default=1)

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(x, 0), last) / last

    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>", f'<rect width="{WIDTH}" height="{HEIGHT}" style="fill:var(--ground)"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        *panel(TOP, "time to an answer, ms", LATENCY, records, across, logarithmic),
        *panel(TOP + PANEL + GAP, "calls a second", RATES, records, across, linear),
        *bottom_axis(last, abscissa, across), *mark_lines(marks, across), "</svg>",
    ]) + "\n"


def panel(top, label, lines, records, across, scale):
    """One pair of axes with its lines; the legend stands above it."""
    values = [it[key] for it in records for key, *_ in lines if it[key] is not None]
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
        yield f'<path class="line {dash}" d="{path(records, key, across, height)}" style="stroke:var({color})"/>'


def path(records, key, across, height) -> str:
    """Records without a value break the line."""
    steps, pen = [], "M"
    for it in records:
        if it[key] is None:
            pen = "M"
            continue
        steps.append(f"{pen}{across(it['x']):.1f} {height(it[key]):.1f}")
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


def bottom_axis(last, label, across):
    step = 10 ** math.floor(math.log10(last))
    step = next(it for it in (step / 10, step / 5, step / 2, step) if last / it <= 12)
    bottom = TOP + 2 * PANEL + GAP
    for count in range(int(last / step) + 1):
        yield f'<text x="{across(count * step):.1f}" y="{bottom + 18}" text-anchor="middle">{count * step:g}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 40}" text-anchor="middle">{label}</text>'


def mark_lines(marks, across):
    bottom = TOP + 2 * PANEL + GAP
    for row, mark in enumerate(marks):
        x, color = across(mark["seconds"]), "--fault" if mark["kind"] == "fault" else "--back"
        y = TOP + PANEL + 12 + 11 * (row % 3)
        yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" style="stroke:var({color})"/>'
        yield f'<text class="small" x="{x + 2:.1f}" y="{y}" style="fill:var({color})">{escape(mark["what"])}</text>'
