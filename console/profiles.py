"""`samestream profiles`: how features, scores and the fields of sources are distributed, window by window."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samestream.console.offline import From, To, instant_of
from samestream.console.options import CONNECTION, Module, configured
from samestream.schemas.errors import SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.streams.models.category_profile import Profile
    from samestream.streams.models.profile import NumericProfile

_WIDTH, _GROUPS = 40, 16


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("profiles")(profiles)


@configured(*CONNECTION)
def profiles(
    settings: Settings,
    module: Module,
    subject: Annotated[
        str,
        typer.Argument(
            metavar="[SUBJECT]", help="A feature, a score or a field: LateArrival.temp; temp alone will do."
        ),
    ] = "",
    from_: From = None,
    to: To = None,
    segment: Annotated[str, typer.Option(metavar="NAME=VALUE", help="Of the rows of this segment alone.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the profiles that `samestream run MODULE profiles` writes.

    \b
    Without a subject: one line for each, over all windows. With one: a line for
    each window of event time, and the histogram of them all. Windows grow with what
    comes late.

    \b
    samestream profiles examples/flights.py
    samestream profiles examples/flights.py LateArrival.temp --from 2013-02-01 --to 2013-02-08
    """
    from samestream.console.apply import require
    from samestream.console.reading import instant
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.lowering import compile_app
    from samestream.streams.models.profile_topic import ProfileBook

    app = load(module, settings.namespace)
    plan = compile_app(app)
    from_us, to_us = instant_of(from_, "--from"), instant_of(to, "--to")
    with closing(connect(settings)) as transport:
        require(transport, app, plan.profiles)
        book = ProfileBook.read(transport.read_all(plan.profiles))
    now = {model.fingerprint for model in plan.models.values()} | {""}
    known = [(name, part, mark) for name, part, mark in book.subjects() if mark in now and part == segment]
    chosen = [one for one in known if subject in ("", one[0]) or one[0].endswith(f".{subject}")]
    if not chosen:
        told = sorted({name for name, _, _ in known})
        raise SettingsError(
            "there is no such profile",
            where=subject or segment or module,
            found="none",
            expected=", ".join(told) or "none was written yet",
            hint="`samestream run MODULE profiles` writes them; `samestream profiles MODULE` lists them.",
        )
    for name, part, mark in chosen:
        total = book.over(name, part, mark, from_us, to_us)
        if total is None:
            continue
        if as_json:
            print(json.dumps({"subject": name, "segment": part, **_figures(total)}, ensure_ascii=False))
        elif not subject:
            what = book.what(name, part, mark)
            print(f"{name:<36}{_line(total)}{'' if what == 'values' else f'  ({what})'}")
        else:
            what = book.what(name, part, mark)
            print(f"{name}{f', {part}' if part else ''}{'' if what == 'values' else f' ({what})'}")
            for (start_us, _), profile in book.windows(name, part, mark):
                if (from_us is None or start_us >= from_us) and (to_us is None or start_us < to_us):
                    print(f"  {instant(start_us)}  {_line(profile)}")
            print()
            for line in [*histogram(total), *_shares(total)]:
                print(f"  {line}")


def _figures(profile: Profile) -> dict[str, Any]:
    """What a profile says in numbers."""
    from samestream.streams.models.profile import NumericProfile

    common = {"rows": profile.n, "nulls": profile.nulls, "distinct": round(profile.distinct)}
    if not isinstance(profile, NumericProfile):
        return {**common, "top": {text: profile.counts[text] for text in profile.groups()[:5]}}
    return {
        **common,
        "nonfinite": profile.nonfinite,
        "zeros": profile.zeros,
        "negatives": profile.negatives,
        "repeats": profile.repeats,
        "min": profile.min,
        "q10": profile.quantile(0.1),
        "q50": profile.quantile(0.5),
        "q90": profile.quantile(0.9),
        "max": profile.max,
        "mean": profile.mean,
        "std": profile.std,
        "heaviest": profile.heaviest,
    }


def _line(profile: Profile) -> str:
    said = _figures(profile)
    head = f"{said['rows']:>9,} rows  {profile.null_share:>6.1%} null  ~{said['distinct']:,} different  "
    if "top" in said:
        return head + ", ".join(f"{text} {count / max(profile.n, 1):.1%}" for text, count in said["top"].items())
    if said["min"] is None:
        return head
    numbers = ("min", "q10", "q50", "q90", "max", "mean", "std")
    return head + "  ".join(f"{name} {said[name]:.4g}" for name in numbers)


def histogram(profile: Profile) -> list[str]:
    """A bar for each sixteenth of the range that holds 98 of 100 numbers, or for each frequent text; the longest is 40 long.

    Numbers beyond that range are counted in the first and the last bar, and all other texts in the last. Shares are of all numbers
    or texts.
    """
    from samestream.streams.models.profile import NumericProfile

    if isinstance(profile, NumericProfile):
        names, counts = _bars(profile)
    else:
        groups = profile.groups()
        names = [f"{text[:24]:<24}" for text in groups]
        counts = [profile.counts[text] for text in groups]
        if others := profile.n - profile.nulls - sum(counts):
            names, counts = [*names, f"{'(all others)':<24}"], [*counts, others]
    total, greatest = max(sum(counts), 1), max(counts, default=0)
    return [
        f"{name} {'#' * round(_WIDTH * count / greatest) if greatest else '':<{_WIDTH}} {count / total:>6.1%}  {count:,}"
        for name, count in zip(names, counts, strict=True)
    ]


def _shares(profile: Profile) -> list[str]:
    """How many of a number's rows are of each kind that is a fault where there never was any; nothing of texts."""
    from samestream.streams.models.profile import NumericProfile

    if not isinstance(profile, NumericProfile):
        return []
    kinds = {
        "zero": profile.zeros, "negative": profile.negatives, "the value before": profile.repeats, "not finite": profile.nonfinite,
    }  # fmt: skip
    return ["", ", ".join(f"{count / max(profile.n, 1):.2%} {name}" for name, count in kinds.items())]


def _bars(profile: NumericProfile) -> tuple[list[str], list[int]]:
    import numpy as np

    from samestream.streams.models.profile import BUCKET_HIGH, BUCKET_LOW

    low, high = profile.quantile(0.01), profile.quantile(0.99)
    if low is None or high is None:
        return [], []
    if low == high:
        return [f"{low:>10.4g} {'':<13}"], [profile.values]
    edges = np.linspace(low, high, _GROUPS + 1)
    occupied = np.flatnonzero(profile.counts)
    middle = (BUCKET_LOW[occupied] + BUCKET_HIGH[occupied]) / 2
    place = np.clip(np.searchsorted(edges, middle, side="right") - 1, 0, _GROUPS - 1)
    counts = np.bincount(place, profile.counts[occupied], minlength=_GROUPS).astype(np.int64)
    names = [
        f"{start:>10.4g} .. {end:<10.4g}" for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    return names, counts.tolist()
