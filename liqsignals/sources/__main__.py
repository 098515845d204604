"""`python -m liqsignals.sources > docs/sources.md`: the page on sources, from what the providers declare."""

from liqsignals.clock import MINUTE, SECOND
from liqsignals.sources import PROVIDERS


def _lag(ns: int) -> str:
    return f"{ns / SECOND:g} s" if 0 < ns < MINUTE else f"{ns / MINUTE:g} min"


def page() -> str:
    """docs/sources.md."""
    lines = [
        "# Sources",
        "",
        "Made by `python -m liqsignals.sources > docs/sources.md` from the declarations in `liqsignals/sources/`; a test fails when it is",
        "out of date. Known after: from the event to the first instant at which a record may be used.",
    ]
    for p in PROVIDERS:
        limit = f"{p.limits.requests} requests in {p.limits.per_seconds:g} s, {p.limits.concurrency} at once"
        key = f" Key: `{p.key_env}`." if p.key_env else ""
        lines += [
            "",
            f"## {p.name}",
            "",
            f"{p.base_url or 'in the package'}. {p.licence[0].upper() + p.licence[1:]}. Asked at most {limit}.{key}",
            "",
            "| series | kind | path | unit: theirs | ours | their label | known after | because | depth |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for s in p.series:
            lines.append(
                f"| {s.name} | {s.kind} | `{s.path}` | {s.unit_in} | {s.unit_stored} | {s.label} | {_lag(s.lag_ns)} | {s.evidence} | {s.depth} |"
            )
        if p.streams:
            lines += [
                "",
                "| stream | kind | address | unit: theirs | ours | their side | their label | known after | because | depth | lost after a silence of |",
                "|---|---|---|---|---|---|---|---|---|---|---|",
            ]
        for f in p.streams:
            lines.append(
                f"| {f.channel} | {f.kind} | `{f.url}{f.path}` | {f.unit_in} | {f.unit_stored} | {f.side} | {f.label} | {_lag(f.lag_ns)} "
                f"| {f.evidence} | {f.depth} | {f.quiet / 60:g} min |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
