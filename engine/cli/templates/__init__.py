"""Go templates, as `--format` takes them: lexer, parser, values and evaluation. Pure; imported by those who need it."""
