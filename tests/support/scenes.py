"Compare scenes of the microworld."

from seeing_words.data.microworld.near_miss import scene_facts
from seeing_words.data.microworld.scene import Scene


def changed_facts(scene: Scene, other: Scene) -> list[tuple]:
    "Facts in which two scenes with the same number of things differ."
    facts, others = scene_facts(scene), scene_facts(other)
    assert facts.keys() == others.keys()
    return [fact for fact in facts if facts[fact] != others[fact]]
