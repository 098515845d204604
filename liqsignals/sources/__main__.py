"""`python -m liqsignals.sources > docs/sources.md`: the page on sources, from what the providers declare."""

from liqsignals.clock import MINUTE
from liqsignals.sources import PROVIDERS


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
            lag = f"{s.lag_ns / MINUTE:g} min"
            lines.append(
                f"| {s.name} | {s.kind} | `{s.path}` | {s.unit_in} | {s.unit_stored} | {s.label} | {lag} | {s.evidence} | {s.depth} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
