"""Bugs in the page of the report: (name, file, old, new, tests), for tests/mutants.py."""

PAGE = "tests/report/test_page.py"
MAP = "tests/report/test_embedding.py"

# fmt: off
MUTANTS = [
    ("names in a report are markup", "report/page/page.py",
     "autoescape=True", "autoescape=False", f"{PAGE}::test_words_stay_words"),
    ("any script in a report may run", "report/page/page.py",
     '"script-src": _hash(script)', '"script-src": "\'unsafe-inline\'"',
     f"{PAGE}::test_the_policy_allows_what_is_in_the_page_alone"),
    ("a report may ask the network for pictures", "report/page/page.py",
     '"img-src": "data:"', '"img-src": "data: https:"',
     f"{PAGE}::test_the_policy_allows_what_is_in_the_page_alone"),
    ("a report is written over anything", "report/write.py",
     "if out.exists() and not page.is_page(out):", "if False:",
     f"{PAGE}::test_nothing_but_a_report_is_written_over"),
    ("figures keep styles that the policy forbids", "report/page/svg.py",
     'told = element.attrib.pop("style", "")', 'told = ""', f"{PAGE}::test_figures_only_draw"),
    ("a map stands on its head", "report/page/plane.py",
     "round(HEIGHT - EDGE - y * (HEIGHT - 2 * EDGE))", "round(EDGE + y * (HEIGHT - 2 * EDGE))",
     f"{PAGE}::test_points_are_in_the_drawing_and_classes_look_different"),
    ("the top of a report tells the score of older weights", "report/sections/summary.py",
     "told = [one for one in found if one.newest]", "told = list(found)",
     f"{PAGE}::test_the_top_of_the_page_says_what_it_is_worth"),
    ("a report shows the training's examples beside another score", "report/sections/examples.py",
     "[*_tested(run), trained]", "[trained, *_tested(run)]",
     f"{PAGE}::test_examples_are_those_of_the_newest_score"),
    ("an example is its own neighbour", "report/sections/embedding.py",
     "cosine[np.arange(len(asked)), asked] = -np.inf",
     "cosine[np.arange(len(asked)), asked] += 0.0",
     f"{MAP}::test_the_nearest_are_of_the_highest_cosine_and_others"),
    ("points show the pictures of others", "report/sections/embedding.py",
     "_pictures(run, sample, range(n), POINT)",
     "_pictures(run, sample, range(n - 1, -1, -1), POINT)",
     f"{MAP}::test_pictures_names_and_classes_belong_together"),
    ("chance counts each example as its own neighbour", "report/sections/embedding.py",
     "(sizes * (sizes - 1)).sum()) / (n * (n - 1))", "(sizes * sizes).sum()) / (n * n)",
     f"{MAP}::test_the_share_of_neighbours_of_the_same_class_is_beside_chance"),
]
# fmt: on
