//! Levels of a rule: its own, and those that it rises to.

use lapwing_event::Level;

use crate::yaml::{Node, YamlError};

/// Reads a level.
pub(super) fn read_level(node: &Node) -> Result<Level, YamlError> {
    let word = node.word(&Level::ALL.map(Level::word))?;
    Ok(Level::by_word(word).expect("one of the known words"))
}

/// Reads `levels:`: higher levels with the values at which they begin, rising.
pub(super) fn read_levels(
    node: &Node,
    base: Level,
    threshold: u64,
) -> Result<Vec<(Level, u64)>, YamlError> {
    let mut levels: Vec<(Level, u64)> = Vec::new();
    for (word, value) in node.map()? {
        let level = Level::by_word(word)
            .ok_or_else(|| value.error("expected informational, low, medium, high or critical"))?;
        let from = u64::try_from(value.int()?).unwrap_or(0);
        let (last_level, last_from) = levels.last().copied().unwrap_or((base, threshold));
        if level <= last_level || from <= last_from {
            return Err(value.error("levels and their values must rise, above the rule's own"));
        }
        levels.push((level, from));
    }
    Ok(levels)
}
