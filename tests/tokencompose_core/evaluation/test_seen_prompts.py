from tokencompose_core.evaluation.seen_prompts import find_seen


def test_case_punctuation_and_spaces_make_no_other_prompt():
    prompts = ["a photo of a cat and a cup.", "a kite above a boat", "A donut!", "..."]
    captions = ["  A photo of a CAT, and a\ncup", "a boat above a kite", "a donut", "?"]
    assert find_seen(prompts, captions) == [prompts[0], prompts[2]]
    assert find_seen(prompts, ["a photo of a cat and a cupboard", "photo of a cat and a cup"]) == []
