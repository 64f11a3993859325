//! Settings before they have types: a tree that knows where each value was written, and how two trees become one.
//!
//! There are no precedence numbers. Who includes another replaces what that one says. Two that are included side by
//! side must agree, unless one of them replaced the very value that the other still has; else both places are named.
//! Lists are joined. Tables of an array with the same `name` are the same thing, unless they name different groups (`vg`).

use crate::problem::{Problem, Span, Texts};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The key (for an item of a list, the item).
    pub key: Span,
    pub span: Span,
    value: Value<'a>,
    /// The values, by their place, that this one replaced.
    replaced: Vec<Span>,
}

#[derive(Clone, Debug)]
enum Value<'a> {
    Table(BTreeMap<String, Entry<'a>>),
    List(Vec<Entry<'a>>),
    Leaf(DeValue<'a>),
}

impl<'a> Entry<'a> {
    /// The tree of a parsed text that starts at `start` of all texts.
    pub fn from_toml(table: Spanned<DeTable<'a>>, start: usize) -> Entry<'a> {
        let span = shift(table.span(), start);
        Entry::new(span.clone(), span, DeValue::Table(table.into_inner()), start)
    }

    fn new(key: Span, span: Span, value: DeValue<'a>, start: usize) -> Entry<'a> {
        let value = match value {
            DeValue::Table(table) => Value::Table(
                table
                    .into_iter()
                    .map(|(name, item)| {
                        let (key, span) = (shift(name.span(), start), shift(item.span(), start));
                        (name.into_inner().into_owned(), Entry::new(key, span, item.into_inner(), start))
                    })
                    .collect(),
            ),
            DeValue::Array(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| {
                        let span = shift(item.span(), start);
                        Entry::new(span.clone(), span, item.into_inner(), start)
                    })
                    .collect(),
            ),
            leaf => Value::Leaf(leaf),
        };
        Entry { key, span, value, replaced: Vec::new() }
    }

    /// The tree as toml's own, for serde.
    pub fn to_toml(&self) -> Spanned<DeTable<'a>> {
        match self.to_value() {
            DeValue::Table(table) => Spanned::new(self.span.clone(), table),
            _ => Spanned::new(self.span.clone(), DeTable::new()),
        }
    }

    fn to_value(&self) -> DeValue<'a> {
        match &self.value {
            Value::Leaf(leaf) => leaf.clone(),
            Value::Table(entries) => {
                let pairs = entries.iter().map(|(name, entry)| {
                    (
                        Spanned::new(entry.key.clone(), name.clone().into()),
                        Spanned::new(entry.span.clone(), entry.to_value()),
                    )
                });
                DeValue::Table(pairs.collect())
            }
            Value::List(items) => {
                let mut array = DeArray::new();
                items.iter().for_each(|item| array.push(Spanned::new(item.span.clone(), item.to_value())));
                DeValue::Array(array)
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<&Entry<'a>> {
        match &self.value {
            Value::Table(entries) => entries.get(name),
            Value::List(items) => match name.parse::<usize>() {
                Ok(index) => items.get(index),
                Err(_) => items.iter().find(|item| item.name() == Some(name)),
            },
            Value::Leaf(_) => None,
        }
    }

    /// The place of the last of `keys` that is there.
    pub fn find(&self, keys: &[String]) -> Span {
        match keys.split_first().and_then(|(first, rest)| self.get(first).map(|entry| (entry, rest))) {
            Some((entry, [])) => entry.span.clone(),
            Some((entry, rest)) => entry.find(rest),
            None => self.key.clone(),
        }
    }

    /// A tree with nothing but the entry `name`, where there is one.
    pub fn only(mut self, name: &str) -> Option<Entry<'a>> {
        match &mut self.value {
            Value::Table(entries) => entries.retain(|key, _| key == name),
            _ => return None,
        }
        self.get(name)?;
        Some(self)
    }

    /// The texts of a list such as `profiles`, with their places.
    pub fn words(&self, name: &str) -> Vec<(String, Span)> {
        match self.get(name).map(|entry| &entry.value) {
            Some(Value::List(items)) => {
                items.iter().filter_map(|item| Some((item.text()?.to_owned(), item.span.clone()))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Leaf(leaf) => leaf.as_str(),
            _ => None,
        }
    }

    fn name(&self) -> Option<&str> {
        self.get("name")?.text()
    }

    /// Takes the smallest thing out that encloses `span`, so that the rest can be read on. Its key (the number of an
    /// item); `None` when there is nothing to take out.
    pub fn cut(&mut self, span: &Span) -> Option<String> {
        let hit = |entry: &Entry<'a>| encloses(&entry.span, span) || encloses(&entry.key, span);
        match &mut self.value {
            Value::Leaf(_) => None,
            Value::Table(entries) => entries.values_mut().find_map(|entry| entry.cut(span)).or_else(|| {
                let name = entries.iter().find(|(_, entry)| hit(entry)).map(|(name, _)| name.clone())?;
                entries.remove(&name).map(|_| name)
            }),
            Value::List(items) => items.iter_mut().find_map(|item| item.cut(span)).or_else(|| {
                let index = items.iter().position(hit)?;
                items.remove(index);
                Some(index.to_string())
            }),
        }
    }

    /// `self` with `own` on top: what `own` says counts.
    pub fn replace_with(&mut self, own: Entry<'a>) {
        match (&mut self.value, own.value) {
            (Value::Table(base), Value::Table(own)) => {
                for (name, entry) in own {
                    match base.get_mut(&name) {
                        Some(below) => below.replace_with(entry),
                        None => drop(base.insert(name, entry)),
                    }
                }
            }
            (Value::List(base), Value::List(own)) => {
                for item in own {
                    match base.iter_mut().find(|below| below.same_thing(&item)) {
                        Some(below) => below.replace_with(item),
                        None => base.push(item),
                    }
                }
            }
            (_, value) => {
                self.replaced.push(std::mem::replace(&mut self.span, own.span));
                (self.key, self.value) = (own.key, value);
            }
        }
    }

    /// `self` and `other` side by side; where they differ, both places are named in a problem.
    pub fn join(&mut self, other: Entry<'a>, keys: &str, texts: &Texts, problems: &mut Vec<Problem>) {
        let same = self.span == other.span || self.shown() == other.shown();
        match (&mut self.value, &other.value) {
            (Value::Table(mine), Value::Table(theirs)) => {
                for (name, entry) in theirs {
                    match mine.get_mut(name) {
                        Some(same) => same.join(entry.clone(), &dotted(keys, name), texts, problems),
                        None => drop(mine.insert(name.clone(), entry.clone())),
                    }
                }
            }
            (Value::List(mine), Value::List(theirs)) => {
                for item in theirs {
                    match mine.iter_mut().find(|same| same.same_thing(item)) {
                        Some(same) => {
                            same.join(item.clone(), &dotted(keys, item.name().unwrap_or("")), texts, problems)
                        }
                        None => mine.push(item.clone()),
                    }
                }
            }
            _ if same => self.replaced.extend(other.replaced),
            _ if self.replaced.contains(&other.span) => self.replaced.extend(other.replaced),
            _ if other.replaced.contains(&self.span) => *self = other,
            _ => problems.push(texts.problem(
                &other.span,
                &format!("{keys} is {} here, and {} at {}", other.shown(), self.shown(), texts.place(&self.span)),
                "one value: neither of the two includes the other",
                &format!("set {keys} in the file that includes both"),
            )),
        }
    }

    /// Tables of the same name, or equal leaves.
    fn same_thing(&self, other: &Entry<'a>) -> bool {
        match (&self.value, &other.value) {
            (Value::Table(_), Value::Table(_)) => {
                let group = |entry: &Entry<'a>| entry.get("vg").and_then(|vg| vg.text().map(str::to_owned));
                let apart = group(self).zip(group(other)).is_some_and(|(mine, theirs)| mine != theirs);
                self.name().is_some() && self.name() == other.name() && !apart
            }
            (Value::Leaf(_), Value::Leaf(_)) => self.shown() == other.shown(),
            _ => false,
        }
    }

    /// The value as TOML would write it, roughly: for comparing and for showing.
    fn shown(&self) -> String {
        match &self.value {
            Value::Leaf(DeValue::String(text)) => format!("{text:?}"),
            Value::Leaf(DeValue::Integer(number)) => number.to_string(),
            Value::Leaf(DeValue::Float(number)) => number.to_string(),
            Value::Leaf(DeValue::Boolean(yes)) => yes.to_string(),
            Value::Leaf(DeValue::Datetime(time)) => time.to_string(),
            Value::Leaf(_) | Value::Table(_) => "a table".to_owned(),
            Value::List(_) => "a list".to_owned(),
        }
    }
}

fn encloses(outer: &Span, inner: &Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn shift(span: Span, start: usize) -> Span {
    span.start + start..span.end + start
}

fn dotted(keys: &str, name: &str) -> String {
    [keys, name].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".")
}
