#!/usr/bin/env python3
"""Draws what-a-window-means.svg, the picture of time beside this script.

Run without arguments it rewrites the picture; the same script always writes the same bytes.
crates/detector/tests/window_page.rs runs it, and plays the events of the picture to the detector.
"""

from pathlib import Path
from xml.sax.saxutils import escape

# The example: minutes after 12:00, of one key. The rule: 4 or more within 5 minutes.
EVENTS = [0, 2, 3.5, 5, 6.5, 8]
LATE = -3.5
TIMESPAN = 5
LATENESS = 10
RESOLVE_AFTER = 5
WINDOWS = [
    (5, False, "3 events: does not hold. 12:00 lies on its start, outside"),
    (6.5, True, "4 events: holds. The alert opens, opened_at 12:06:30"),
    (8, True, "4 events: holds. The alert absorbs it, window.end 12:08:00"),
]
WINDOW_END = 8
RESOLVED_AT = WINDOW_END + RESOLVE_AFTER + LATENESS

WIDTH = 800
HEIGHT = 462
LEFT = 26
FIRST = -4.5
PER_MINUTE = 26.6

EVENTS_Y = 92
WINDOWS_Y = 154
WINDOW_STEP = 34
LATENESS_Y = 268
ALERT_Y = 334
CLOCK_Y = 366
AXIS_Y = 430

STYLE = """
    text { font: 12px 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif; fill: #1b1f24; }
    .card { fill: #ffffff; stroke: #c4cad1; }
    .quiet { fill: #57606a; }
    .small { font-size: 11px; }
    .strong { font-weight: bold; }
    .mid { text-anchor: middle; }
    .end { text-anchor: end; }
    .line { stroke: #8c959f; fill: none; }
    .guide { stroke: #c4cad1; stroke-dasharray: 2 3; fill: none; }
    .event { fill: #1b1f24; }
    .holds { fill: #0a6b8a; stroke: #0a6b8a; }
    .fails { fill: #8c959f; stroke: #8c959f; }
    .bar { fill-opacity: 0.22; }
    .open { fill: #ffffff; }
    .late { fill: #ffffff; stroke: #b35309; }
    .late-text { fill: #9a4507; }
    .alert { fill: #b4235a; stroke: #b4235a; }
    .alert-text { fill: #a51d50; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .card { fill: #161b22; stroke: #3d444d; }
      .quiet { fill: #a3acb6; }
      .line { stroke: #7d8590; }
      .guide { stroke: #3d444d; }
      .event { fill: #e6edf3; }
      .holds { fill: #4cc2e6; stroke: #4cc2e6; }
      .open { fill: #161b22; }
      .late { fill: #161b22; stroke: #f0a35e; }
      .late-text { fill: #f0a35e; }
      .alert { fill: #f778a1; stroke: #f778a1; }
      .alert-text { fill: #f778a1; }
    }
"""

TITLE = "What a window means, on the events of one key"
DESCRIPTION = (
    "Event time runs from left to right. Six failed logins of one address lie at 12:00:00, "
    "12:02:00, 12:03:30, 12:05:00, 12:06:30 and 12:08:00. Each bar is a window of five minutes "
    "that ends at an event; its start is exclusive, drawn as a ring, its end inclusive, drawn "
    "as a dot. The window at 12:05:00 has three events and does not hold, since the event at "
    "12:00:00 lies on its start. The windows at 12:06:30 and 12:08:00 have four events and "
    "hold. An event at 11:56:30 that comes after the one at 12:08:00 is late: it is older than "
    "11:58:00, the newest event less the allowed lateness of ten minutes. The alert is open "
    "from opened_at, 12:06:30, until the clock of the key shows 12:23:00, which is window.end, "
    "12:08:00, plus resolve_after, five minutes, plus the allowed lateness, ten minutes."
)


def x(minute):
    return LEFT + (minute - FIRST) * PER_MINUTE


def number(value):
    """With one digit after the point at most, so that the output does not depend on the machine."""
    return f"{value:.1f}".replace(".0", "")


def clock(minute):
    seconds = round((12 * 60 + minute) * 60)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def text(at, y, words, classes=""):
    of_class = f' class="{classes}"' if classes else ""
    return f'<text x="{number(at)}" y="{number(y)}"{of_class}>{escape(words)}</text>'


def line(x1, y1, x2, y2, classes):
    places = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f'<line {places} class="{classes}"/>'


def dot(at, y, radius, classes):
    return f'<circle cx="{number(at)}" cy="{number(y)}" r="{number(radius)}" class="{classes}"/>'


def bar(start, end, y, height, classes):
    place = f'x="{number(x(start))}" y="{number(y)}" width="{number(x(end) - x(start))}"'
    return f'<rect {place} height="{number(height)}" class="{classes}"/>'


def span(start, end, y, words, classes=""):
    """A stretch of time between two ticks, with words above it."""
    left, right = x(start), x(end)
    middle = (left + right) / 2
    return [
        line(left, y, right, y, "line"),
        line(left, y - 4, left, y + 4, "line"),
        line(right, y - 4, right, y + 4, "line"),
        text(middle, y - 7, words, f"small mid {classes}".strip()),
    ]


def events():
    drawn = [text(LEFT - 10, 56, "events", "strong")]
    for minute in EVENTS:
        drawn.append(dot(x(minute), EVENTS_Y, 5, "event"))
        drawn.append(text(x(minute), EVENTS_Y - 12, clock(minute)[3:], "small mid"))
    drawn.append(dot(x(LATE), EVENTS_Y, 5, "late"))
    drawn.append(text(x(LATE), EVENTS_Y - 12, clock(LATE), "small mid late-text"))
    drawn.append(text(x(LATE), EVENTS_Y + 20, "late", "small mid late-text"))
    words = "failed logins of one address, minutes and seconds after 12:00"
    drawn.append(text(x(10), EVENTS_Y - 5, words, "small quiet"))
    words = "the ring comes last: too late, it is in no window"
    drawn.append(text(x(10), EVENTS_Y + 11, words, "small late-text"))
    return drawn


def windows():
    drawn = [text(LEFT - 10, WINDOWS_Y - 18, "windows", "strong")]
    for row, (end, holds, words) in enumerate(WINDOWS):
        y = WINDOWS_Y + row * WINDOW_STEP
        state = "holds" if holds else "fails"
        start = end - TIMESPAN
        drawn.append(line(x(end), EVENTS_Y + 8, x(end), y - 8, "guide"))
        drawn.append(bar(start, end, y - 8, 16, f"{state} bar"))
        drawn += [dot(x(m), y, 3, "event") for m in EVENTS if start < m < end]
        drawn.append(dot(x(start), y, 5, f"{state} open"))
        drawn.append(dot(x(end), y, 5, state))
        drawn.append(text(x(8.6), y + 4, words, "small"))
    return drawn


def lateness():
    newest = EVENTS[-1]
    drawn = [line(x(newest), WINDOWS_Y + 2 * WINDOW_STEP + 10, x(newest), CLOCK_Y + 12, "guide")]
    horizon = x(newest - LATENESS)
    drawn.append(line(horizon, EVENTS_Y - 4, horizon, LATENESS_Y, "guide"))
    drawn += span(newest - LATENESS, newest, LATENESS_Y, "allowed lateness, 10 min")
    middle = x(newest - LATENESS / 2)
    drawn.append(text(middle, LATENESS_Y + 17, "here events may still come", "small mid quiet"))
    drawn.append(text(x(newest) + 10, LATENESS_Y + 4, "newest event of the key", "small quiet"))
    return drawn


def alert():
    opened_at = WINDOWS[1][0]
    y = ALERT_Y
    drawn = [text(LEFT - 10, y - 14, "alert", "strong")]
    drawn.append(bar(opened_at, RESOLVED_AT, y - 8, 16, "alert bar"))
    drawn.append(dot(x(opened_at), y, 5, "alert"))
    drawn.append(dot(x(RESOLVED_AT), y, 5, "alert"))
    words = f"opened_at {clock(opened_at)}"
    drawn.append(text(x(opened_at) - 10, y + 4, words, "small end alert-text"))
    middle = (x(opened_at) + x(RESOLVED_AT)) / 2
    drawn.append(text(middle, y + 4, "open", "small mid"))
    words = f"resolved_at {clock(RESOLVED_AT)}"
    drawn.append(text(x(RESOLVED_AT) + 8, y - 14, words, "small end alert-text"))
    return drawn


def key_clock():
    y = CLOCK_Y + 12
    drawn = [text(LEFT - 10, y + 4, "clock of the key", "strong")]
    drawn.append(text(x(WINDOW_END) - 10, y + 4, f"window.end {clock(WINDOW_END)}", "small end"))
    quiet = WINDOW_END + RESOLVE_AFTER
    drawn += span(WINDOW_END, quiet, y, "resolve_after, 5 min")
    drawn += span(quiet, RESOLVED_AT, y, "allowed lateness, 10 min")
    words = "the key is silent; log time moves its clock on"
    drawn.append(text(x(WINDOW_END), y + 20, words, "small quiet"))
    drawn.append(line(x(RESOLVED_AT), ALERT_Y + 8, x(RESOLVED_AT), y - 4, "guide"))
    return drawn


def axis():
    right = x(RESOLVED_AT + 1)
    drawn = [line(LEFT - 10, AXIS_Y, right, AXIS_Y, "line")]
    drawn.append(line(right - 7, AXIS_Y - 4, right, AXIS_Y, "line"))
    drawn.append(line(right - 7, AXIS_Y + 4, right, AXIS_Y, "line"))
    for minute in range(0, 25, 5):
        drawn.append(line(x(minute), AXIS_Y - 4, x(minute), AXIS_Y + 4, "line"))
        drawn.append(text(x(minute), AXIS_Y + 18, clock(minute)[:5], "small mid"))
    drawn.append(text(LEFT - 10, AXIS_Y - 9, "event time", "strong"))
    return drawn


def legend():
    words = "rule: 4 or more events of one key within 5 minutes"
    y = 28
    drawn = [text(LEFT - 10, y, words, "strong")]
    drawn.append(dot(x(10), y - 4, 5, "holds open"))
    drawn.append(text(x(10) + 11, y, "start of a window, outside", "small"))
    drawn.append(dot(x(17), y - 4, 5, "holds"))
    drawn.append(text(x(17) + 11, y, "its end, inside", "small"))
    return drawn


def picture():
    card = f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8" class="card"/>'
    parts = [legend(), events(), windows(), lateness(), alert(), key_clock(), axis()]
    body = "\n".join(f"  {element}" for part in [[card], *parts] for element in part)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-labelledby="title desc">\n'
        f'  <title id="title">{escape(TITLE)}</title>\n'
        f'  <desc id="desc">{escape(DESCRIPTION)}</desc>\n'
        f"  <style>{STYLE}  </style>\n"
        f"{body}\n"
        "</svg>\n"
    )


if __name__ == "__main__":
    target = Path(__file__).with_name("what-a-window-means.svg")
    with open(target, "w", encoding="utf-8", newline="\n") as svg:
        svg.write(picture())
