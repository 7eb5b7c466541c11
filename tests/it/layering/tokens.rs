//! Just enough of Rust's grammar to find paths: words, `::` and single signs, without comments, literals and tests.

pub(super) struct Token {
    pub(super) line: usize,
    pub(super) text: String,
}

pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = length_of_next(rest, first);
        let text = &rest[..length];
        let is_code = first.is_alphabetic() && !text.contains('"') || first == '_' || text == "::" || length == 1;
        if is_code && !first.is_whitespace() {
            let line = source[..source.len() - rest.len()].matches('\n').count() + 1;
            tokens.push(Token { line, text: text.to_owned() });
        }
        rest = &rest[length..];
    }
    tokens
}

fn length_of_next(rest: &str, first: char) -> usize {
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        rest.find("*/").map_or(rest.len(), |end| end + 2)
    } else if let Some(length) = raw_string(rest) {
        length
    } else if rest.starts_with("b\"") {
        1 + quoted(&rest[1..], '"')
    } else if first == '"' {
        quoted(rest, '"')
    } else if first == '\'' {
        let mut following = rest.chars().skip(1);
        // Otherwise a lifetime.
        let is_literal = following.next() == Some('\\') || following.next() == Some('\'');
        if is_literal { quoted(rest, '\'') } else { 1 }
    } else if first.is_alphanumeric() || first == '_' {
        rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(rest.len())
    } else if rest.starts_with("::") {
        2
    } else {
        first.len_utf8()
    }
}

fn raw_string(rest: &str) -> Option<usize> {
    let opening = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let hashes = opening.len() - opening.trim_start_matches('#').len();
    let body = opening[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&closing).map_or(body.len(), |end| end + closing.len());
    Some(rest.len() - body.len() + length)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in rest.char_indices().skip(1) {
        if sign == quote && !escaped {
            return at + quote.len_utf8();
        }
        escaped = sign == '\\' && !escaped;
    }
    rest.len()
}

/// Without the items that exist only under `cfg(test)`.
pub(super) fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if token.text != "#" || tokens.peek().is_none_or(|next| next.text != "[") {
            kept.push(token);
            continue;
        }
        let mut attribute = vec![token];
        let mut depth = 0;
        for token in tokens.by_ref() {
            depth += i32::from(token.text == "[") - i32::from(token.text == "]");
            attribute.push(token);
            if depth == 0 {
                break;
            }
        }
        let says = |word: &str| attribute.iter().any(|token| token.text == word);
        if says("cfg") && says("test") && !says("not") && !says("any") {
            skip_item(&mut tokens);
        } else {
            kept.extend(attribute);
        }
    }
    kept
}

/// To the item's semicolon, or to the end of its block; a list in braces ends in a semicolon as well.
fn skip_item(tokens: &mut impl Iterator<Item = Token>) {
    let mut depth = 0;
    let mut is_use = false;
    for token in tokens {
        match token.text.as_str() {
            "use" if depth == 0 => is_use = true,
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        let ends = token.text == ";" || token.text == "}" && !is_use;
        if depth == 0 && ends {
            return;
        }
    }
}
