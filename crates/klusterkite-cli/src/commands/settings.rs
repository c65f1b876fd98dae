//! Settings files on this machine: what they add up to, and where each value comes from. No manager is asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use klusterkite_api::page::Page;
use klusterkite_hocon::limits::TEXT_SIZE_BYTES_MAX;
use klusterkite_hocon::{
    self as hocon, Config, Document, IncludeKind, IncludeReader, IncludeRequest, IncludedText,
    Origin, ParseOptions, Syntax, Value, Written,
};

use crate::arguments::{Output, SettingsCommand};
use crate::context::Context;
use crate::exit::{Exit, Stop};
use crate::render::settings::{self, Explanation, Layer, Role};

pub(crate) fn run(command: &SettingsCommand, context: &mut Context) -> anyhow::Result<Exit> {
    match command {
        SettingsCommand::Resolve { files, json } => {
            let config = Layers::read(files)?.resolve()?;
            as_json(context, *json);
            context.print(&config.to_json(), |_| config.render())?;
        }
        SettingsCommand::Explain { path, files, json } => {
            let explained = explain(path, &Layers::read(files)?)?;
            as_json(context, *json);
            context.print(&Page::whole(explained), |page| {
                settings::explanations(&page.items)
            })?;
        }
    }
    Ok(Exit::Done)
}

fn as_json(context: &mut Context, json: bool) {
    if json {
        context.set_output(Output::Json);
    }
}

/// Settings files, highest priority first.
struct Layers {
    documents: Vec<Document>,
    files: Files,
    environment: BTreeMap<String, String>,
}

impl Layers {
    fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let files = Files::default();
        let mut documents = Vec::with_capacity(paths.len());
        for path in paths {
            let source = path.display().to_string();
            let text = read_text(path).with_context(|| format!("cannot read `{source}`"))?;
            files.keep(&source, &text);
            let options = ParseOptions {
                syntax: Syntax::of_file_name(&source).unwrap_or(Syntax::Hocon),
                includes: Some(&files),
            };
            let document = Document::parse_with(&text, &source, &options);
            documents.push(document.map_err(|error| files.located(&error))?);
        }
        Ok(Self {
            documents,
            files,
            environment: environment(),
        })
    }

    fn resolve(&self) -> anyhow::Result<Config> {
        let documents = self.documents.iter().rev().cloned();
        let merged = documents.fold(Document::empty(), |lower, upper| upper.with_fallback(lower));
        let config = merged.resolve(&self.environment);
        config.map_err(|error| self.files.located(&error).into())
    }
}

/// Returns the variables that can be text; no settings file can name others.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads the files that are included, and keeps all texts for excerpts.
#[derive(Default)]
struct Files(RefCell<BTreeMap<String, String>>);

impl Files {
    fn keep(&self, source: &str, text: &str) {
        let mut texts = self.0.borrow_mut();
        texts.insert(source.to_owned(), text.to_owned());
    }

    /// Makes the end of a command of an error in a file, with the line that it is about.
    fn located(&self, error: &hocon::Error) -> Stop {
        let origin = error.origin();
        let texts = self.0.borrow();
        let excerpt = texts
            .get(origin.source())
            .and_then(|text| origin.excerpt(text));
        let sentence = match excerpt {
            Some(excerpt) => format!("{error}\n{excerpt}"),
            None => error.to_string(),
        };
        Stop::new(Exit::Usage, sentence)
    }
}

impl IncludeReader for Files {
    fn read(&self, request: &IncludeRequest<'_>) -> Result<Option<IncludedText>, String> {
        let path = match request.kind {
            IncludeKind::Relative => {
                let including = Path::new(request.origin.source()).parent();
                including.unwrap_or(Path::new("")).join(request.name)
            }
            // As the specification has it: relative to the current directory.
            IncludeKind::File => PathBuf::from(request.name),
            // A command line program comes without such texts.
            IncludeKind::ClassPath => return Ok(None),
        };
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("`{}`: {error}", path.display())),
        };
        let source = path.display().to_string();
        self.keep(&source, &text);
        Ok(Some(IncludedText { text, source }))
    }
}

/// Reads a text file that is no larger than a text may be.
fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = TEXT_SIZE_BYTES_MAX as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > TEXT_SIZE_BYTES_MAX {
        let problem = format!("it is larger than {TEXT_SIZE_BYTES_MAX} bytes");
        return Err(io::Error::other(problem));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        io::Error::other(format!(
            "line {line}, column {column} is not UTF-8; save the file as UTF-8"
        ))
    })
}

/// Explains the value at a path, or every value below it if it is an object.
fn explain(path: &str, layers: &Layers) -> anyhow::Result<Vec<Explanation>> {
    let parsed =
        hocon::Path::parse(path).map_err(|error| Stop::new(Exit::Usage, error.to_string()))?;
    let config = layers.resolve()?;
    let Some(value) = config.value(path) else {
        let sentence = format!("no file gives `{parsed}` a value");
        return Err(Stop::new(Exit::NotFound, sentence).into());
    };
    let mut explained = Vec::new();
    explain_value(&parsed, value, &config, layers, &mut explained);
    Ok(explained)
}

fn explain_value(
    path: &hocon::Path,
    value: &Value,
    config: &Config,
    layers: &Layers,
    explained: &mut Vec<Explanation>,
) {
    if let Some(object) = value.as_object()
        && !object.is_empty()
    {
        for (key, child) in object.iter() {
            explain_value(&path.child(key), child, config, layers, explained);
        }
        return;
    }
    let documents = layers.documents.iter();
    let written: Vec<Written> = documents
        .flat_map(|document| document.written(path))
        .collect();
    let giver = giver(&written, value, config, &layers.environment);
    let mut adds = true;
    let layers = written.iter().enumerate().map(|(index, written)| {
        let role = match giver {
            None => Role::Part,
            Some(giver) if index < giver && !written.adds => Role::Undefined,
            Some(giver) if index < giver => Role::Part,
            Some(giver) if index == giver => Role::Value,
            Some(_) if adds => Role::Part,
            Some(_) => Role::Overridden,
        };
        if role != Role::Undefined {
            adds &= written.adds;
        }
        Layer {
            role,
            origin: (&written.origin).into(),
            written: written.text.clone(),
        }
    });
    explained.push(Explanation {
        path: path.to_string(),
        value: value.to_json(),
        origin: value.origin().into(),
        layers: layers.collect(),
    });
}

/// Finds the layer that gave the value: the one at its place, or the substitution that leads there.
fn giver(
    written: &[Written],
    value: &Value,
    config: &Config,
    environment: &BTreeMap<String, String>,
) -> Option<usize> {
    let leads_there = |reference: &hocon::Path| match config.value(&reference.to_string()) {
        Some(found) => found.origin() == value.origin(),
        None => {
            value.origin().line().is_none() && environment.contains_key(&reference.keys().join("."))
        }
    };
    let stands_there = |written: &Written| written.origin == *value.origin();
    let gives = |written: &Written| {
        stands_there(written) || written.reference.as_ref().is_some_and(leads_there)
    };
    let found = written.iter().position(gives);
    found.or_else(|| written.iter().position(|written| written.is_open))
}

impl From<&Origin> for settings::Place {
    fn from(origin: &Origin) -> Self {
        Self {
            source: origin.source().to_owned(),
            line: origin.line(),
            column: origin.column(),
        }
    }
}
