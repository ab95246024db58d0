"""Go templates: what they print and how they fail. The expectations were taken from docker inspect 28.2 on this document."""

from __future__ import annotations

from typing import Any

import pytest

from engine.cli.templates.evaluation import Template, TemplateError, document
from engine.cli.templates.values import Struct, encoded, shown

DOCUMENT: dict[str, Any] = {
    "Id": "c4f62523a95a",
    "Args": ["-c", "x"],
    "State": {"Status": "running", "Running": True, "Pid": 77, "Error": ""},
    "Name": "/web",
    "HostConfig": {
        "Memory": 67108864,
        "Links": None,
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8800"}]},
    },
    "Config": {
        "Hostname": "h",
        "Env": ["A=1", "B=<2>"],
        "Cmd": ["sh"],
        "Labels": {"a": "b"},
        "Tty": False,
        "Entrypoint": None,
    },
    "NetworkSettings": {
        "IPAddress": "172.17.0.2",
        "Ports": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8800"}, {"HostIp": "::", "HostPort": "8800"}],
            "53/udp": None,
        },
        "Networks": {"bridge": {"IPAddress": "172.17.0.2", "Aliases": None}},
    },
}

PRINTED = [
    ("{{ .NetworkSettings.IPAddress }}", "172.17.0.2"),
    ("{{.Config.Labels.zz}}", "<no value>"),
    ("{{.NetworkSettings.Networks.foo.IPAddress}}", "<no value>"),
    ("{{.Config.Entrypoint}} {{.HostConfig.Links}} {{.Config.Env}} {{.Config.Labels}}", "[] [] [A=1 B=<2>] map[a:b]"),
    ("{{.NetworkSettings.Ports}}", "map[53/udp:[] 80/tcp:[{0.0.0.0 8800} {:: 8800}]]"),
    ("{{.HostConfig.Memory}}", "67108864"),
    ("{{.State}}", "{running true 77 }"),
    ("{{json .Config.Env}} {{len .Config.Env}}", '["A=1","B=<2>"] 2'),
    ("{{json .HostConfig.Links}} {{json .Config.Labels.zz}}", "null null"),
    ("{{json .HostConfig.PortBindings}}", '{"80/tcp":[{"HostIp":"","HostPort":"8800"}]}'),
    (
        '{{printf "%q %d %-5s| %v %5.2f %x" .Name .State.Pid "a" .State.Running 1.5 255}}',
        '"/web" 77 a    | true  1.50 ff',
    ),
    ('{{printf "%d"}} {{printf "%d" "x"}} {{printf "a" 1}}', "%!d(MISSING) %!d(string=x) a%!(EXTRA int=1)"),
    ('{{.Id | printf "%.4s"}}', "c4f6"),
    ('{{ .Config.Hostname | upper | printf "%s!" }}', "H!"),
    ('{{title "abc def"}} {{truncate "abcdef" 3}} {{pad "x" 2 3}}|', "Abc Def abc   x   |"),
    ('{{split "a,b" ","}} {{join .Config.Env "-"}} {{lower "AbC"}}', "[a b] A=1-B=<2> abc"),
    ("{{with .Config.Entrypoint}}a{{else}}b{{end}}", "b"),
    ("{{with $x := .State}}{{$x.Pid}}{{end}}{{$y := 3}}{{$y = 4}}{{$y}}", "774"),
    (
        '{{eq .State.Status "x" "running"}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1.5 1.0}} {{ge 1 2}}',
        "true true true true true false",
    ),
    ("{{slice .Name 1 2}} {{slice .Name 1}}", "w web"),
    ("a{{/* c */}}x", "ax"),
    ('{{index .Config.Labels "a"}}{{- " q " -}} z', "b q z"),
    ('[{{index .Config.Labels "q"}}]', "[]"),
    ('{{(index .NetworkSettings.Ports "80/tcp" 0).HostPort}}', "8800"),
    ('{{and 1 0}} {{or 0 "x"}} {{not 1}}', "0 x false"),
    ("{{range $i,$e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{else}}none{{end}}", "A=1,B=<2>"),
    ("{{range .Config.Entrypoint}}x{{else}}empty{{end}}", "empty"),
    ('{{range .Config.Env}}{{if eq . "A=1"}}{{continue}}{{end}}{{.}}{{end}}', "B=<2>"),
    ("{{range .Config.Env}}{{.}}{{break}}{{end}}", "A=1"),
    ("{{range 3}}{{.}}{{end}}", "012"),
    (
        "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{.IPAddress}} {{$v.Aliases}}{{end}}",
        "bridge=172.17.0.2 []",
    ),
    ("{{if and .State.Running (gt .State.Pid 5)}}y{{else if eq 1 1}}z{{else}}n{{end}}", "y"),
    ("{{if false}}y{{else if eq 1 1}}z{{else}}n{{end}}", "z"),
    ("{{if .State.Health}}h{{else}}no{{end}}", "no"),
    ("{{.State.Pid}} {{- /* c */ -}} x", "77x"),
    ("{{println 1 .Name}}", "1 /web\n"),
    ('{{print 1 2 "x" 3 4}}', "1 2x3 4"),
    ('{{html "<a>"}} {{urlquery "a b&c"}}', "&lt;a&gt; a+b%26c"),
    ("{{0x10}} {{1.5}} {{true}} {{'x'}} {{`raw`}} {{\"a\\tb\\u00e9\"}}", "16 1.5 true 120 raw a\tbé"),
    ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=<2>\n"),
]


@pytest.mark.parametrize(("source", "text"), PRINTED)
def test_prints(source: str, text: str) -> None:
    assert Template(source).render(document(DOCUMENT)) == text


REFUSED = [
    ("{{.State", "template: :1: unclosed action"),
    ("{{foo .}}", 'template: :1: function "foo" not defined'),
    ("{{if}}x{{end}}", "template: :1: missing value for if"),
    ("a\n{{end}}", "template: :2: unexpected {{end}}"),
    ("{{else}}", "template: :1: unexpected {{else}}"),
    ("{{range .Config.Labels}}", "template: :1: unexpected EOF"),
    ("{{$x}}", 'template: :1: undefined variable "$x"'),
    ("{{if $y := 1}}{{end}}{{$y}}", 'template: :1: undefined variable "$y"'),
    ('{{ "unterminated }}', "template: :1: unterminated quoted string"),
    ("{{break}}", "template: :1: {{break}} outside {{range}}"),
    ("{{()}}", "template: :1: missing value for parenthesized pipeline"),
    ("{{.Name)}}", "template: :1: unexpected right paren"),
    ('{{"a" | 1}}', "template: :1: non executable command in pipeline stage 2"),
    ("{{/* c }}", "template: :1: unclosed comment"),
    ("{{1a}}", 'template: :1: bad number syntax: "1a"'),
]


@pytest.mark.parametrize(("source", "message"), REFUSED)
def test_refuses_what_is_no_template(source: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(source)
    assert str(caught.value) == message


FAILED = [
    ("{{.Foo}}", '1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
    ("{{.A.B}}", '1:4: executing "" at <.A.B>: map has no entry for key "A"'),
    ("x\n{{\n.Foo}}", '3:0: executing "" at <.Foo>: map has no entry for key "Foo"'),
    ("{{.State.Health.Status}}", '1:8: executing "" at <.State.Health.Status>: map has no entry for key "Health"'),
    ("{{.Name.Foo}}", '1:7: executing "" at <.Name.Foo>: can\'t evaluate field Foo in type interface {}'),
    (
        "{{index .Config.Env 5}}",
        '1:2: executing "" at <index .Config.Env 5>: error calling index: index out of range: 5',
    ),
    ('{{lt 1 "a"}}', '1:2: executing "" at <lt 1 "a">: error calling lt: incompatible types for comparison'),
    ("{{len 3}}", '1:2: executing "" at <len 3>: error calling len: len of type int'),
    ("{{.Config.Cmd 1}}", '1:9: executing "" at <.Config.Cmd>: Cmd is not a method but has arguments'),
    ("{{nil}}", '1:2: executing "" at <nil>: nil is not a command'),
    ("{{upper}}", '1:2: executing "" at <upper>: wrong number of args for upper: want 1 got 0'),
    ("{{index}}", '1:2: executing "" at <index>: wrong number of args for index: want at least 1 got 0'),
]


@pytest.mark.parametrize(("source", "message"), FAILED)
def test_fails_on_the_data(source: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(source).render(document(DOCUMENT))
    assert str(caught.value) == f"template: :{message}"


def test_rows_have_methods_and_a_type() -> None:
    row = Struct({"Name": "web", "Label": lambda name: f"<{name}>"})
    row.type_name = "*formatter.ContainerContext"
    assert Template('{{.Label "a"}}').render(row) == "<a>"
    assert encoded(row) == '{"Name":"web"}'
    with pytest.raises(TemplateError, match=r"can't evaluate field Foo in type \*formatter.ContainerContext"):
        Template("{{.Foo}}").render(row)
    with pytest.raises(TemplateError, match="wrong number of args for Label: want 1 got 2"):
        Template('{{.Label "a" "b"}}').render(row)


def test_json_keeps_the_document_but_escapes_rows() -> None:
    assert encoded({"b": "<&>", "a": 'é"\n\x01'}) == '{"b":"<&>","a":"é\\"\\n\\u0001"}'
    assert encoded(Struct({"b": "<", "a": "1"})) == '{"a":"1","b":"\\u003c"}'


@pytest.mark.parametrize(
    ("value", "text"), [(1e21, "1e+21"), (2.0, "2"), (1.5, "1.5"), (None, "<nil>"), (False, "false")]
)
def test_numbers_print_as_in_go(value: object, text: str) -> None:
    assert shown(value) == text
