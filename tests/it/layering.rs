//! The layers of the crate, held by reading its source: what may be named where.

mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use self::tokens::{Token, tokens, without_tests};

/// From the bottom: each layer with the layers that it may name.
const LAYERS: [(&str, &[&str]); 7] = [
    ("run", &[]),
    ("telemetry", &["run"]),
    ("store", &["telemetry", "run"]),
    ("agent", &["telemetry", "run"]),
    ("actors", &["agent", "store", "telemetry", "run"]),
    ("runtime", &["actors", "agent", "store", "telemetry", "run"]),
    ("web", &["runtime", "telemetry", "run"]),
];

/// Modules at the crate's root that belong to a layer of another name.
const ALIASES: [(&str, &str); 1] = [("error", "runtime")];

/// Crates that only some folders may name.
const CRATES: [(&str, &[&str]); 13] = [
    ("diesel", &["store"]),
    ("diesel_async", &["store"]),
    ("diesel_migrations", &["store"]),
    ("tokio_postgres", &["store"]),
    ("libsqlite3_sys", &["store"]),
    ("actix", &["actors", "runtime"]),
    ("actix_rt", &["actors", "runtime"]),
    ("actix_web", &["web"]),
    (
        "reqwest",
        &[
            "agent::http",
            "agent::openai",
            "agent::openai_chat",
            "agent::anthropic",
            "agent::genai",
            "agent::mcp",
            "actors::courier",
        ],
    ),
    ("rmcp", &["agent::mcp"]),
    ("opentelemetry", &["telemetry"]),
    ("utoipa", &["run", "web"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
];

const LONGEST_FILE: usize = 400;

/// What is wrong in one file of `src`, a line each. `module` is its path from the crate's root.
fn findings(module: &[&str], source: &str) -> Vec<String> {
    let tokens = without_tests(tokens(source));
    let mut findings = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let place = format!("{}, line {}", module.join("::"), token.line);
        if let Some((name, homes)) = CRATES.iter().find(|(name, _)| *name == token.text)
            && !homes.iter().any(|home| starts_with(module, home))
        {
            findings.push(format!("{place}: {name} belongs to {}", homes.join(" and ")));
        }
        for named in named_from_root(module, &tokens, at) {
            if let Some(reason) = forbidden(layer_of(module[0]), named) {
                findings.push(format!("{place}: {reason}"));
            }
        }
    }
    findings
}

fn forbidden(layer: Option<&str>, named: &str) -> Option<String> {
    let Some((layer, below)) = LAYERS.iter().find(|(name, _)| Some(*name) == layer) else {
        return Some("this module is of no layer: give it a place in LAYERS or ALIASES".to_owned());
    };
    match layer_of(named) {
        None => Some(format!("crate::{named} is not a layer: name the module that it comes from")),
        Some(target) if target == *layer || below.contains(&target) => None,
        Some(target) => Some(format!("{layer} must not know {target}")),
    }
}

fn layer_of(module: &str) -> Option<&str> {
    let alias = ALIASES.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer);
    alias.or_else(|| LAYERS.iter().find(|(name, _)| *name == module).map(|(name, _)| *name))
}

fn starts_with(module: &[&str], home: &str) -> bool {
    home.split("::").enumerate().all(|(depth, part)| module.get(depth) == Some(&part))
}

/// The modules at the root that a path starting at this token names: `crate::x`, `crate::{x, y}`, `super::super::x`.
fn named_from_root<'a>(module: &[&str], tokens: &'a [Token], at: usize) -> Vec<&'a str> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let inside_path = at > 0 && text(at - 1) == "::";
    let mut next = at;
    match text(at) {
        "crate" if !inside_path && text(at + 1) == "::" => next += 2,
        "super" if !inside_path => {
            let mut steps = 0;
            while text(next) == "super" && text(next + 1) == "::" {
                (steps, next) = (steps + 1, next + 2);
            }
            if steps < module.len() {
                return Vec::new();
            }
        }
        _ => return Vec::new(),
    }
    if text(next) != "{" {
        return vec![text(next)];
    }
    let mut named = Vec::new();
    let mut depth = 0;
    for at in next..tokens.len() {
        match text(at) {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(text(at), "{" | ",") && !matches!(text(at + 1), "}" | "{") {
            named.push(text(at + 1));
        }
    }
    named
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn each_layer_names_only_what_is_below_it() {
    let source = root().join("src");
    let files = rust_files(&source);
    assert!(files.len() > 10, "the scan finds the source");
    let mut all = Vec::new();
    for file in files {
        let path = file.strip_prefix(&source).unwrap().with_extension("");
        let module: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
        // The root re-exports every layer, and tests may look anywhere.
        if module == ["lib"] || module.iter().any(|part| matches!(*part, "tests" | "conformance")) {
            continue;
        }
        all.extend(findings(&module, &fs::read_to_string(&file).unwrap()));
    }
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

#[test]
fn files_are_short_and_named_after_what_they_hold() {
    let files: Vec<PathBuf> =
        ["src", "tests", "examples", "benches"].iter().flat_map(|name| rust_files(&root().join(name))).collect();
    let lines = |file: &Path| fs::read_to_string(file).unwrap().lines().count();
    let long: Vec<&PathBuf> = files.iter().filter(|file| lines(file) > LONGEST_FILE).collect();
    let unnamed: Vec<&PathBuf> = files.iter().filter(|file| file.ends_with("mod.rs")).collect();
    assert!(long.is_empty(), "longer than {LONGEST_FILE} lines: {long:?}");
    assert!(unnamed.is_empty(), "a module's file bears its name: {unnamed:?}");
}

#[test]
fn a_forbidden_line_is_found() {
    for (module, line) in [
        (&["run", "status"][..], "use crate::store::RunStore;"),
        (&["run"], "fn f() { crate::agent::g(); }"),
        (&["run"], "use super::store::RunStore;"),
        (&["run", "status"], "use super::super::agent;"),
        (&["store"], "use crate::{run::Run, agent::Agent};"),
        (&["store"], "use crate::{\n    run::{Run, RunId},\n    actors,\n};"),
        (&["agent"], "use crate::store::StoreError;"),
        (&["actors"], "use crate::runtime::Runtime;"),
        (&["web"], "use crate::store::Store;"),
        (&["runtime"], "use crate::web::scope;"),
        (&["agent"], "use crate::RunId;"),
        (&["novelty"], "use crate::run::Run;"),
        (&["run"], "use diesel::prelude::*;"),
        (&["run"], "#[derive(diesel::Queryable)] struct Row;"),
        (&["actors"], "use diesel_async::AsyncPgConnection;"),
        (&["agent"], "use actix::Addr;"),
        (&["runtime"], "let app = actix_web::App::new();"),
        (&["agent", "model"], "use reqwest::Client;"),
        (&["run"], "#[cfg(test)]\nmod tests {}\nuse crate::store::Store;"),
        (&["run"], "#[cfg(not(test))]\nuse crate::store::Store;"),
        (&["run"], "const QUOTE: char = '\"'; use crate::store::Store; // \""),
        (&["run"], "fn f<'a>(x: &'a str) { crate::store::g(x) }"),
    ] {
        assert_eq!(findings(module, line).len(), 1, "{line}");
    }
}

#[test]
fn an_allowed_line_is_let_through() {
    for (module, line) in [
        (&["store"][..], "use crate::run::Run;"),
        (
            &["store", "postgres", "rows"],
            "use super::super::protocol; use crate::store::StoreError; use diesel::sql_query;",
        ),
        (&["actors", "manager"], "use actix::Addr; use crate::{agent::Agent, run::Run, store::Store};"),
        (&["agent", "openai", "wire"], "use reqwest::Client;"),
        (&["web"], "use crate::runtime::Runtime; use crate::error::Error; use actix_web::Scope;"),
        (&["run"], "pub(crate) struct Id;"),
        (&["run"], "//! Unlike [`crate::store::Store`], no diesel. /* actix::Actor */\n/* crate::web */"),
        (&["run"], "const WORDS: &str = \"use diesel; \\\" crate::store\";"),
        (&["run"], "const WORDS: &str = r#\"crate::store::\"x\" crate::web\"#;"),
        (&["run"], "#[cfg(test)]\nmod tests { use crate::store::Store; fn f() { if x { } } }"),
        (&["run"], "#[cfg(all(test, feature = \"sqlite\"))]\n#[path = \"x.rs\"]\nuse crate::store::Store;"),
    ] {
        assert_eq!(findings(module, line), Vec::<String>::new(), "{line}");
    }
}
