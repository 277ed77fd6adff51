"""EzPC text to plaintext C++, by its syntax: the lexer's tokens, the parser's precedences, the labels of its inference.

Knows the part of the language that an exported program may use; anything else is an assertion. Both parties' inputs are
read from the files named on the command line, and what is put out is printed.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"\s+|\(\*.*?\*\)|(?P<type>(?:int64|int32|bool)_(?:al|bl|pl))\b|(?P<number>\d+L?)|(?P<name>[a-zA-Z][a-zA-Z0-9]*)"
    r"|(?P<sign>>>>|>=|<=|==|&&|\|\||[-+*/%<>!?:;,=(){}\[\]])",
    re.DOTALL,
)
_LEVELS = (("||",), ("&&",), ("==",), (">", ">=", "<", "<="), (">>>",), ("+", "-"), ("*", "/", "%"))
_HEAD = """#include <cstdint>
#include <fstream>
#include <iostream>
static std::ifstream SERVER, CLIENT;
"""


class Typed(NamedTuple):
    """C++ text with the label of its value: al, bl or pl; `base` is int64, int32 or bool."""

    text: str
    label: str
    base: str


def to_cpp(text: str) -> str:
    return _HEAD + _Parser(_tokens(text)).program()


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None, f"EzPC has no token {text[at : at + 20]!r}"
        if match.lastgroup is not None:
            found.append(match[0])
        at = match.end()
    return found


class _Parser:
    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens, self.at = [*tokens, "", ""], 0
        self.scopes: list[dict[str, tuple[str, str, int]]] = [{}]  # name: base, label, dimensions
        self.functions: dict[str, tuple[tuple[str, str], list[tuple[str, str]]]] = {}

    @property
    def word(self) -> str:
        return self.tokens[self.at]

    def take(self, *expected: str) -> str:
        assert not expected or self.word in expected, f"expected {expected}, got {self.tokens[self.at : self.at + 9]}"
        self.at += 1
        return self.tokens[self.at - 1]

    def name(self) -> str:
        assert re.fullmatch("[a-zA-Z][a-zA-Z0-9]*", self.word), self.word
        return self.take()

    def type(self) -> tuple[str, str, list[str]]:
        base, label = self.take().split("_")
        dimensions = []
        while self.word == "[":
            self.take("[")
            dimensions.append(self.expression().text)
            self.take("]")
        return base, label, dimensions

    def declare(self, name: str, base: str, label: str, dimensions: int) -> None:
        assert name not in self.scopes[-1], f"{name} is declared twice"
        self.scopes[-1][name] = base, label, dimensions

    # ---- statements -----------------------------------------------------------------------------------------------

    def program(self) -> str:
        parts = []
        while self.word:
            self.take("def")
            parts.append(self.main() if self.word == "void" else self.function())
        return "\n".join(parts)

    def main(self) -> str:
        for word in ("void", "main", "(", ")"):
            self.take(word)
        opened = "SERVER.open(argv[1]); CLIENT.open(argv[2]); (void)argc;"
        body = self.block()
        assert not self.word
        return f"int main(int argc, char **argv) {{ {opened} {body} return SERVER && CLIENT ? 0 : 1; }}"

    def function(self) -> str:
        base, label, _ = self.type()
        name, parameters = self.name(), []
        self.scopes.append({})
        self.take("(")
        while self.word != ")":
            own, secret, dimensions = self.type()
            assert not dimensions
            parameters.append((self.name(), own, secret))
            self.declare(parameters[-1][0], own, secret, 0)
            if self.word == ",":
                self.take()
        self.take(")")
        self.returned = base, label
        body = self.block()
        self.scopes.pop()
        self.functions[name] = (base, label), [(own, secret) for _, own, secret in parameters]
        given = ", ".join(f"int64_t {own}" for own, _, _ in parameters)
        return f"static int64_t {name}({given}) {{ {body} }}"

    def block(self) -> str:
        self.take("{")
        self.scopes.append({})
        parts = []
        while self.word != "}":
            parts.append(self.statement())
            if self.word != "}":
                self.take(";")
        self.take("}")
        self.scopes.pop()
        return "\n".join(parts)

    def statement(self) -> str:
        word = self.word
        if "_" in word:
            return self.declaration()
        if word in ("for", "if", "input", "output", "return"):
            return str(getattr(self, f"{word}_")())
        to = self.postfix()
        self.take("=")
        return f"{to.text} = {self.coerced(self.expression(), to.base, to.label)};"

    def declaration(self) -> str:
        base, label, dimensions = self.type()
        name = self.name()
        if self.word == "=":
            self.take()
            value = self.coerced(self.expression(), base, label)
            self.declare(name, base, label, 0)
            return f"int64_t {name} = {value};"
        self.declare(name, base, label, len(dimensions))
        return f"static int64_t {name}{''.join(f'[{d}]' for d in dimensions)};"

    def for_(self) -> str:
        self.take("for")
        name = self.name()
        self.take("=")
        self.take("[")
        first = self.coerced(self.expression(), "int32", "pl")
        self.take(":")
        end = self.coerced(self.expression(), "int32", "pl")
        self.take("]")
        self.scopes.append({name: ("int32", "pl", 0)})
        body = self.block()
        self.scopes.pop()
        return f"for (int64_t {name} = {first}; {name} < {end}; {name}++) {{ {body} }}"

    def if_(self) -> str:
        self.take("if")
        self.take("(")
        condition = self.expression()
        assert condition[1:] == ("pl", "bool"), "only public conditions choose statements"
        self.take(")")
        return f"if ({condition.text}) {{ {self.block()} }}"

    def input_(self) -> str:
        self.take("input")
        self.take("(")
        party = self.take("SERVER", "CLIENT")
        self.take(",")
        name = self.name()
        self.take(",")
        base, label, dimensions = self.type()
        self.take(")")
        assert label != "pl"
        self.declare(name, base, label, len(dimensions))
        loops = "".join(f"for (int i{k} = 0; i{k} < {d}; i{k}++) " for k, d in enumerate(dimensions))
        at = "".join(f"[i{k}]" for k in range(len(dimensions)))
        return f"static int64_t {name}{''.join(f'[{d}]' for d in dimensions)}; {loops} {party} >> {name}{at};"

    def output_(self) -> str:
        for word in ("output", "(", "CLIENT", ","):
            self.take(word)
        name = self.name()
        self.take(")")
        assert self.variable(name)[2] == 1
        return f"for (int64_t own : {name}) std::cout << own << '\\n';"

    def return_(self) -> str:
        self.take("return")
        return f"return {self.coerced(self.expression(), *self.returned)};"

    # ---- expressions ----------------------------------------------------------------------------------------------

    def variable(self, name: str) -> tuple[str, str, int]:
        return next(scope[name] for scope in reversed(self.scopes) if name in scope)

    @staticmethod
    def coerced(value: Typed, base: str, label: str) -> str:
        """A share of one kind becomes one of the other, and a public value either; nothing becomes public."""
        assert label != "pl" or value.label == "pl", (value, label)
        assert value.base == base or (value[1:] == ("pl", "int32") and label == "pl"), (value, base, label)
        return value.text

    def expression(self) -> Typed:
        condition = self.binary(0)
        if self.word != "?":
            return condition
        self.take("?")
        yes = self.expression()
        self.take(":")
        no = self.expression()
        assert condition.base == "bool"
        assert yes.base == no.base
        label = "pl" if condition.label == "pl" else "bl"
        return Typed(f"({condition.text} ? {yes.text} : {no.text})", label, yes.base)

    def binary(self, level: int) -> Typed:
        if level == len(_LEVELS):
            return self.postfix()
        left = self.binary(level + 1)
        while self.word in _LEVELS[level]:
            sign = self.take()
            left = self.joined(sign, left, self.binary(level + 1))
        return left

    @staticmethod
    def joined(sign: str, left: Typed, right: Typed) -> Typed:
        if sign == ">>>":
            assert right.label == "pl"
            return Typed(f"((int64_t)((uint64_t){left.text} >> {right.text}))", "bl", left.base)
        assert left.base == right.base or "pl" in (left.label, right.label), (sign, left, right)
        text = f"({left.text} {sign} {right.text})"
        public = left.label == right.label == "pl"
        if sign in _LEVELS[2] + _LEVELS[3]:
            return Typed(text, "pl" if public else "bl", "bool")
        if sign in ("||", "&&"):
            assert left.base == right.base == "bool"
            return Typed(text, "pl" if public else "bl", "bool")
        if sign == "*":
            return Typed(text, "pl" if public else "al", left.base)
        assert sign in "+-" or public, f"{sign} is for public values"
        labels = {left.label, right.label} - {"pl"}
        assert len(labels) < 2, f"the label of {text} cannot be inferred"
        return Typed(text, next(iter(labels), "pl"), left.base)

    def postfix(self) -> Typed:
        word = self.take()
        if word == "(":
            inner = self.expression()
            self.take(")")
            return inner
        if word == "-":
            return self.literal(f"-{self.take()}")
        if word[0].isdigit():
            return self.literal(word)
        if self.word == "(":
            return self.call(word)
        base, label, dimensions = self.variable(word)
        text = word
        for _ in range(dimensions):
            self.take("[")
            text += f"[{self.coerced(self.expression(), 'int32', 'pl')}]"
            self.take("]")
        return Typed(text, label, base)

    @staticmethod
    def literal(word: str) -> Typed:
        number = int(word.removesuffix("L"))
        bits = 64 if word.endswith("L") else 32
        assert -(1 << (bits - 1)) <= number < 1 << (bits - 1), word
        return Typed(f"({number}LL)", "pl", f"int{bits}")

    def call(self, name: str) -> Typed:
        (base, label), parameters = self.functions[name]
        self.take("(")
        given = []
        for k, (own, secret) in enumerate(parameters):
            if k:
                self.take(",")
            given.append(self.coerced(self.expression(), own, secret))
        self.take(")")
        return Typed(f"{name}({', '.join(given)})", label, base)
