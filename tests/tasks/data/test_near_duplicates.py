"""Near duplicates: equal words in order, except for one in ten."""

import torch

from tasks.data.dataset import Table
from tasks.data.near_duplicates import group_near_duplicates, number_contents

STORY = "the central bank raised its main interest rate by a quarter on tuesday to slow prices"


def table(*texts: str, pairs: list[str] | None = None) -> Table:
    n = len(texts)
    return Table([f"{i}" for i in range(n)], list(texts), pairs, [0] * n, {}, "", "here")


def group_duplicates(*texts: str, pairs: list[str] | None = None) -> list[list[int]]:
    """Groups of positions, with all pairs compared."""
    n = len(texts)
    near = torch.tensor([[j for j in range(n) if j != i] for i in range(n)])
    numbers = group_near_duplicates(table(*texts, pairs=pairs), near).tolist()
    groups = [[i for i in range(n) if numbers[i] == number] for number in dict.fromkeys(numbers)]
    return [group for group in groups if len(group) > 1]


def test_only_alphanumeric_characters_count():
    assert group_duplicates("It's good!", "its GOOD", "it is good") == [[0, 1]]


def test_a_long_text_with_one_word_changed_is_a_near_duplicate():
    assert group_duplicates(STORY, STORY.replace("tuesday", "monday"), "another text") == [[0, 1]]


def test_a_short_text_with_an_additional_word_is_no_duplicate():
    assert group_duplicates("the film was good", "the film was not good") == []


def test_equal_words_in_another_order_are_no_duplicates():
    words = STORY.split()
    assert group_duplicates(STORY, " ".join(words[9:] + words[:9])) == []


def test_both_texts_of_a_pair_must_be_similar():
    other = STORY.replace("tuesday", "monday")
    assert group_duplicates(STORY, other, pairs=["rates rose", "rates rose"]) == [[0, 1]]
    assert group_duplicates(STORY, other, pairs=["rates rose", "rates fell"]) == []


def test_chains_are_joined_and_other_orders_give_the_same_groups():
    words = STORY.split()
    second = [*words[:-1], "x"]
    third = ["y", *second[1:]]
    texts = [" ".join(w) for w in (words, second, third)]
    assert group_duplicates(*texts) == [[0, 1, 2]]
    assert group_duplicates(texts[2], texts[0], texts[1]) == [[0, 1, 2]]


def test_only_neighbours_are_compared():
    numbers = group_near_duplicates(
        table(STORY, STORY.replace("tuesday", "monday"), "c"), torch.tensor([[2]] * 3)
    )
    assert len(set(numbers.tolist())) == 3


def test_contents_are_equal_letter_by_letter():
    """Signs, case, spaces within and emoji may make the class; spaces around a text do not."""
    texts = ["C++ jobs", "C# jobs", "c++ jobs", " C++ jobs\n", "love it 😀", "love it 😡"]
    texts += ["now here", "nowhere", "you come", "you come?"]
    contents = number_contents(table(*texts)).tolist()
    assert contents[0] == contents[3]
    assert len(set(contents)) == len(texts) - 1


def test_contents_of_pairs_are_both_texts_in_order():
    rows = table("a", "a", "b", "a ", pairs=["b", "c", "a", " b"])
    contents = number_contents(rows).tolist()
    assert contents[0] == contents[3]
    assert len(set(contents)) == 3
