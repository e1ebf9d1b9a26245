// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The text of the rules and choices of `Documentation/ndis-rules.rst`.

const RULES: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../Documentation/ndis-rules.csv"
));
const CHOICES: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../Documentation/ndis-rules.rst"
));

/// The statement of the rule (R...) or choice (C...) with this number.
pub fn statement(number: &str) -> Option<String> {
    rule(number).or_else(|| choice(number))
}

/// The third field of its row.
fn rule(number: &str) -> Option<String> {
    let row = RULES.lines().find_map(|line| {
        let rest = line.strip_prefix(number)?;
        rest.strip_prefix(',')
    })?;
    let (_, rest) = row.split_once(',')?;
    let text = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\",")?.0.replace("\"\"", "\""),
        None => rest.split_once(',')?.0.to_owned(),
    };
    Some(text.replace("``", ""))
}

/// Its paragraph, as one line.
fn choice(number: &str) -> Option<String> {
    let head = format!(":{number}: ");
    let mut lines = CHOICES.lines().skip_while(|line| !line.starts_with(&head));
    let mut text = lines.next()?.strip_prefix(&head)?.to_owned();
    for line in lines.take_while(|line| line.starts_with(' ')) {
        text.push(' ');
        text.push_str(line.trim());
    }
    Some(text.replace("``", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found_by_number() {
        let text = statement("R54").unwrap();
        assert!(
            text.starts_with("Of two elements the first is ESP"),
            "{text}"
        );
        let text = statement("R57").unwrap();
        assert!(text.ends_with("EncryptionAlgorithm alone."), "{text}");
        let text = statement("C27").unwrap();
        assert!(
            text.contains("RESOURCES") && text.contains("first element."),
            "{text}"
        );
        for wrong in ["R0", "R5,", "C99", "", "Rule"] {
            assert!(
                !statement(wrong).is_some_and(|text| text.contains("ESP")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn every_number_that_the_model_names_is_there() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../ndis/src/model");
        let mut found = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for words in text.split('"').skip(1).step_by(2) {
                let is_number = |word: &str| {
                    let digits = word.strip_prefix(['R', 'C']).unwrap_or_default();
                    !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())
                };
                for word in words.split(' ').filter(|word| is_number(word)) {
                    assert!(statement(word).is_some(), "{word}");
                    found += 1;
                }
            }
        }
        assert!(found > 40, "{found}");
    }
}
