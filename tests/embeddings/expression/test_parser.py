"""The language of formulas: what a text means, and where each mistake is pointed at."""

from __future__ import annotations

import pytest

from train_embedding.embeddings.expression.nodes import (
    Call,
    Concat,
    EmbeddingName,
    Like,
    Node,
    Number,
    Product,
    Slice,
    Sum,
    Text,
    nodes_of,
)
from train_embedding.embeddings.expression.parser import FUNCTIONS, MAX_CHARACTERS, MAX_DEPTH, parse
from train_embedding.embeddings.expression.tokens import quote_name
from train_embedding.errors import InvalidExpression


def shape(node: Node) -> object:
    """The tree without columns."""
    match node:
        case Number():
            return node.value
        case Text():
            return f'"{node.text}"'
        case EmbeddingName():
            return node.name
        case Sum():
            return ("+", *[(sign, shape(term)) for sign, term in node.terms])
        case Product():
            return ("*", *[(operator, shape(factor)) for operator, factor in node.factors])
        case Concat():
            return ("&", *map(shape, node.parts))
        case Slice():
            return ("[]", shape(node.of), node.start, node.stop)
        case Call():
            return (node.function, *map(shape, node.arguments))
        case Like():
            return ("like", shape(node.of))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("my-cat", "my-cat"),
        ("c++", "c++"),
        ("3d.style_v2", "3d.style_v2"),
        ("café", "café"),
        ("猫の絵", "猫の絵"),
        ("'my cat'", "my cat"),
        (r"'l\'amour'", "l'amour"),
        (r"'a\\b'", r"a\b"),
        ('"a red cat"', '"a red cat"'),
        (r'"say \"hi\""', '"say "hi""'),
        ("'12'", "12"),
        ("'like'", "like"),
        ("like", "like"),
        ("norm", "norm"),
        ("a + b - c", ("+", (1, "a"), (1, "b"), (-1, "c"))),
        ("a +b", ("+", (1, "a"), (1, "b"))),
        ("a-b + c+d", ("+", (1, "a-b"), (1, "c+d"))),
        ("-a", ("+", (-1, "a"))),
        ("--a", "a"),
        ("- -  -a", ("+", (-1, "a"))),
        ("a + -2 * b", ("+", (1, "a"), (1, ("*", ("*", ("+", (-1, 2.0))), ("*", "b"))))),
        ("2*a", ("*", ("*", 2.0), ("*", "a"))),
        ("a*.5e-1/2", ("*", ("*", "a"), ("*", 0.05), ("/", 2.0))),
        ("1e-3 * a", ("*", ("*", 0.001), ("*", "a"))),
        ("a + b * 2 & c", ("&", ("+", (1, "a"), (1, ("*", ("*", "b"), ("*", 2.0)))), "c")),
        ("(a & b) * 2", ("*", ("*", ("&", "a", "b")), ("*", 2.0))),
        ("a[0]", ("[]", "a", 0, 1)),
        ("a[-1]", ("[]", "a", -1, None)),
        ("a[-2]", ("[]", "a", -2, -1)),
        ("a[1:]", ("[]", "a", 1, None)),
        ("a[:-1]", ("[]", "a", None, -1)),
        ("a[ : ]", ("[]", "a", None, None)),
        ("(a[1:3])[0]", ("[]", ("[]", "a", 1, 3), 0, 1)),
        ("-a[0]", ("+", (-1, ("[]", "a", 0, 1)))),
        ("average(a, b, 'c d')", ("average", "a", "b", "c d")),
        ("norm(a)", ("norm", "a")),
        ("norm(a, 0.4)", ("norm", "a", 0.4)),
        ("norm(a, like b + c)", ("norm", "a", ("like", ("+", (1, "b"), (1, "c"))))),
        ("norm(a, like (b))", ("norm", "a", ("like", "b"))),
        ('norm(a, like "cat")', ("norm", "a", ("like", '"cat"'))),
        ("norm(like, 2)", ("norm", "like", 2.0)),
        ("reduce(concat(a, b), 2)", ("reduce", ("concat", "a", "b"), 2.0)),
        (" drop_zeros ( a ) ", ("drop_zeros", "a")),
    ],
)
def test_what_a_formula_means(text: str, tree: object) -> None:
    assert shape(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "the formula is empty"),
        ("   ", 4, "the formula is empty"),
        ("a +", 4, "the formula is incomplete"),
        ("a + * b", 5, r'unexpected "\*"'),
        ("a b", 3, 'an operator is missing before "b"'),
        ("a 'b c'", 3, 'an operator is missing before "b c"'),
        ("2(a)", 2, r'an operator is missing before "\("'),
        ("(a", 3, r'ends where "\)" is expected'),
        ("a)", 2, r'unexpected "\)"'),
        ("a]", 2, r'unexpected "\]"'),
        ("a, b", 2, 'unexpected ","'),
        ("a[", 3, "an index must be a whole number"),
        ("a[]", 3, "the index is missing"),
        ("a[1.5]", 3, "an index must be a whole number"),
        ("a[b]", 3, "an index must be a whole number"),
        ("a[1:2:3]", 6, r'unexpected ":"; "\]" is expected'),
        ("a[--1]", 4, "an index must be a whole number"),
        ("a[1:][0]", 6, r'unexpected "\["'),
        ("a + 'b", 5, "the closing ' is missing"),
        ('a + "b', 5, 'the closing " is missing'),
        ("''", 1, "the name is empty"),
        ('a + " "', 5, "the text is empty"),
        ("foo(a)", 1, 'no function "foo"'),
        ("a + foo(a)", 5, 'no function "foo"'),
        ("norm()", 6, r'unexpected "\)"'),
        ("norm(a, b, c)", 1, "norm does not take 3 arguments"),
        ("reduce(a)", 1, "reduce does not take 1 argument"),
        ("average(a,)", 11, r'unexpected "\)"'),
        ("average(a, like b)", 12, '"like" can be used only in norm'),
        ("norm(like b, 2)", 6, '"like" can be used only in norm'),
        ("a {b}", 3, 'unexpected "{"'),
        ("a | b", 3, r'unexpected "\|"'),
        ("a\\b", 2, r'unexpected "\\"'),
        ("a\x07b", 2, r"U\+0007"),
        ("“cat”", 1, "not supported as a quotation mark"),
        (".cat", 1, "neither a number nor a name"),
        ("(" * (MAX_DEPTH + 1) + "a", MAX_DEPTH + 1, f"nested more than {MAX_DEPTH} deep"),
        ("norm(" * (MAX_DEPTH + 1) + "a", 5 * MAX_DEPTH + 5, f"nested more than {MAX_DEPTH} deep"),
        ("a" * (MAX_CHARACTERS + 1), MAX_CHARACTERS + 1, "at most 2000 are allowed"),
    ],
)
def test_every_mistake_has_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(InvalidExpression, match=words) as caught:
        parse(text)
    assert caught.value.column == column
    assert caught.value.message.startswith(f"Column {column}: ")


def test_the_pointer_stands_below_the_column() -> None:
    with pytest.raises(InvalidExpression) as caught:
        parse("猫 +\n* b")
    assert caught.value.pointer == "猫 + * b\n     ^"
    assert caught.value.column == 5


def test_long_formulas_are_no_deep_ones() -> None:
    longest = " + ".join("a" for _ in range((MAX_CHARACTERS + 3) // 4))
    assert len([node for node in nodes_of(parse(longest)) if isinstance(node, EmbeddingName)]) == (MAX_CHARACTERS + 3) // 4
    assert parse("-" * 1500 + "a") == EmbeddingName("a", 1501)
    assert shape(parse("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH)) == "a"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("my-cat", "my-cat"),
        ("c++", "c++"),
        ("猫", "猫"),
        ("norm", "norm"),
        ("my cat", "'my cat'"),
        ("l'amour", r"'l\'amour'"),
        ("12", "'12'"),
        ("1e5", "'1e5'"),
        ("like", "'like'"),
        ("+plus", "'+plus'"),
        ("black&white", "'black&white'"),
        ("“x”", "'“x”'"),
    ],
)
def test_names_are_quoted_where_need_be(name: str, written: str) -> None:
    assert quote_name(name) == written
    assert shape(parse(written)) == name
    assert shape(parse(f"2 * {written} + {written}[0]"))


def test_each_function_is_described_as_it_is_written() -> None:
    for name, (fewest, most, written) in FUNCTIONS.items():
        assert written.startswith(f"{name}(")
        assert 1 <= fewest <= most
