"""Dockerfile instructions applied to an image's configuration."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.images import changes, words
from netpy.errors import InvalidArgument


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['CMD ["sh", "-c", "echo"]'], {"Cmd": ["sh", "-c", "echo"]}),
        (["cmd echo $HOME"], {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        (["CMD [not json]"], {"Cmd": ["/bin/sh", "-c", "[not json]"]}),
        (['SHELL ["/bin/ash", "-ec"]', "CMD x"], {"Shell": ["/bin/ash", "-ec"], "Cmd": ["/bin/ash", "-ec", "x"]}),
        (['ENTRYPOINT ["/init"]'], {"Entrypoint": ["/init"], "Cmd": None}),
        (["ENTRYPOINT []"], {"Entrypoint": None, "Cmd": None}),
        (['CMD ["a"]', 'ENTRYPOINT ["/init"]'], {"Entrypoint": ["/init"], "Cmd": ["a"]}),
        (['ENV A=1 B="two words" C=it\\ is'], {"Env": ["PATH=/bin", "A=1", "B=two words", "C=it is"]}),
        (["ENV A rest of the line"], {"Env": ["PATH=/bin", "A=rest of the line"]}),
        (["ENV PATH=/usr/bin:$PATH"], {"Env": ["PATH=/usr/bin:/bin"]}),
        (["ENV A=${PATH:+set} B=${NO:-none} C='$PATH'"], {"Env": ["PATH=/bin", "A=set", "B=none", "C=$PATH"]}),
        (["EXPOSE 80 53/UDP 9000-9001"], {"ExposedPorts": {f"{p}": {} for p in ("80/tcp", "53/udp", "9000/tcp", "9001/tcp")}}),
        (['LABEL a=b "c d"="e f"'], {"Labels": {"a": "b", "c d": "e f"}}),
        (["USER 1000:1000"], {"User": "1000:1000"}),
        (["VOLUME /data /more"], {"Volumes": {"/data": {}, "/more": {}}}),
        (['VOLUME ["/data"]'], {"Volumes": {"/data": {}}}),
        (["WORKDIR /a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
        (["STOPSIGNAL SIGTERM"], {"StopSignal": "SIGTERM"}),
        (["STOPSIGNAL 9"], {"StopSignal": "9"}),
        (["ONBUILD RUN make"], {"OnBuild": ["RUN make"]}),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
        (
            ["HEALTHCHECK --interval=1m30s --retries=2 CMD curl localhost"],
            {"Healthcheck": {"Interval": 90 * 10**9, "Retries": 2, "Test": ["CMD-SHELL", "curl localhost"]}},
        ),
        (["# nothing\n\nENV \\\n  A=1 \\\n  B=2\nUSER x"], {"Env": ["PATH=/bin", "A=1", "B=2"], "User": "x"}),
    ],
)  # fmt: skip
def test_an_instruction_changes_what_it_names(lines: list[str], expected: dict[str, Any]) -> None:
    before = {"Env": ["PATH=/bin"], "Cmd": ["old"]}
    assert changes.apply(before, lines) == {**before, **expected}
    assert before == {"Env": ["PATH=/bin"], "Cmd": ["old"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RUN make", "run is not a valid change command"),
        ("FROM scratch", "from is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "syntax error - can't find = in 'B'"),
        ("ENV =1", "ENV names can not be blank"),
        ('ENV A="open', "matching quote"),
        ("ENV A=${B", "missing '}'"),
        ("ENV A=${B:=x}", "unsupported modifier"),
        ("ENV A=${B:?gone}", "B: gone"),
        ("EXPOSE http", "invalid containerPort: http"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("EXPOSE 90-80", "invalid containerPort: 90-80"),
        ("EXPOSE 80/icmp", "invalid proto: icmp"),
        ("STOPSIGNAL NOPE", "invalid signal: NOPE"),
        ("USER a b", "USER requires exactly one argument"),
        ("SHELL sh", "SHELL requires the arguments to be in JSON form"),
        ("ONBUILD ONBUILD RUN x", "ONBUILD isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK maybe", "unknown type 'maybe' in HEALTHCHECK"),
        ("HEALTHCHECK --interval=soon CMD x", "invalid duration 'soon'"),
        ("HEALTHCHECK --nope=1 CMD x", "unknown or malformed flag in HEALTHCHECK: --nope=1"),
    ],
)
def test_a_bad_instruction_is_named(line: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        changes.apply({}, [line])
    assert message in str(caught.value)


@given(st.lists(st.text(st.characters(blacklist_characters="'", blacklist_categories=["Cs"]), min_size=1), max_size=4))
def test_single_quotes_keep_everything(items: list[str]) -> None:
    assert words.split(" ".join(f"'{item}'" for item in items), {}) == items


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        changes.apply({}, [f"ENV {text}", f"LABEL {text}", f"EXPOSE {text}", f"HEALTHCHECK {text}"])
    except InvalidArgument as refusal:
        assert str(refusal)
