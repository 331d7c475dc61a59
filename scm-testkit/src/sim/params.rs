//! Parameters as Rails servers read them: query, form and JSON body merged into one tree, then checked and turned
//! into the declared types.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Number, Value};

/// What an endpoint knows about one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    required: bool,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Text,
    /// Text that may not be blank.
    Filled,
    Int,
    Float,
    Bool,
    Time,
    Date,
    List,
    Ints,
    Hash,
    Any,
    Enum(Vec<String>),
    EnumList(Vec<String>),
}

/// Reads a compact declaration: names separated by blanks, `!` for required, a type after a colon. `&page` stands for
/// `page` and `per_page`.
pub(crate) fn declare(text: &str) -> Vec<Spec> {
    text.split_whitespace()
        .flat_map(|word| if word == "&page" { vec!["page:int", "per_page:int"] } else { vec![word] })
        .map(|word| {
            let (name, kind) = word.split_once(':').unwrap_or((word, "text"));
            let (name, required) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
            Spec { name: name.to_owned(), required, kind: Kind::parse(kind) }
        })
        .collect()
}

impl Kind {
    fn parse(text: &str) -> Self {
        let choices = |list: &str| list.trim_end_matches(')').split('|').map(str::to_owned).collect();
        match text {
            "filled" => Self::Filled,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "time" => Self::Time,
            "date" => Self::Date,
            "list" => Self::List,
            "ints" => Self::Ints,
            "hash" => Self::Hash,
            "any" => Self::Any,
            _ => match (text.strip_prefix("enum("), text.strip_prefix("enums(")) {
                (Some(list), _) => Self::Enum(choices(list)),
                (_, Some(list)) => Self::EnumList(choices(list)),
                _ => Self::Text,
            },
        }
    }
}

/// The parameters of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Map<String, Value>);

impl Params {
    pub(crate) fn add_pairs(&mut self, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            let (name, path) = split_key(key);
            insert(self.0.entry(name).or_insert(Value::Null), &path, value);
        }
    }

    pub(crate) fn add_json(&mut self, body: Map<String, Value>) {
        self.0.extend(body);
    }

    /// Checks against the declaration and converts in place; the list of complaints is empty when all is well.
    pub(crate) fn check(&mut self, specs: &[Spec]) -> Vec<String> {
        let mut complaints = Vec::new();
        for spec in specs {
            match self.0.get_mut(&spec.name) {
                None => {
                    if spec.required {
                        complaints.push(format!("{} is missing", spec.name));
                    }
                }
                Some(Value::Null) => {
                    if spec.required {
                        complaints.push(format!("{} is empty", spec.name));
                    }
                }
                Some(value) => {
                    if let Err(problem) = convert(value, &spec.kind) {
                        complaints.push(format!("{} {problem}", spec.name));
                    }
                }
            }
        }
        complaints
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Text that is there and not empty: how GitLab treats most filters.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Value::as_i64)
    }

    pub(crate) fn id(&self, name: &str) -> Option<u64> {
        self.int(name).and_then(|id| u64::try_from(id).ok())
    }

    /// `None` when absent; null means false.
    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.0.get(name).map(|value| value.as_bool().unwrap_or(false))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.bool(name).unwrap_or(false)
    }

    pub(crate) fn list(&self, name: &str) -> Option<Vec<Value>> {
        self.0.get(name).map(|value| match value {
            Value::Array(list) => list.clone(),
            Value::Null => Vec::new(),
            other => vec![other.clone()],
        })
    }

    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.list(name).map(|list| {
            list.iter()
                .flat_map(|value| value.as_str().unwrap_or_default().split(','))
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
                .collect()
        })
    }

    pub(crate) fn ids(&self, name: &str) -> Option<Vec<u64>> {
        self.list(name).map(|list| list.iter().filter_map(Value::as_u64).collect())
    }
}

/// Splits and decodes a query or form; `+` is a space.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

/// `a[b][]` is `a` with the path `b`, ``.
fn split_key(key: &str) -> (String, Vec<String>) {
    match key.split_once('[') {
        Some((name, rest)) if !name.is_empty() && rest.ends_with(']') => {
            (name.to_owned(), rest[..rest.len() - 1].split("][").map(str::to_owned).collect())
        }
        _ => (key.to_owned(), Vec::new()),
    }
}

fn insert(slot: &mut Value, path: &[String], value: &str) {
    let Some((first, rest)) = path.split_first() else {
        *slot = Value::String(value.to_owned());
        return;
    };
    if first.is_empty() {
        if !slot.is_array() {
            *slot = Value::Array(Vec::new());
        }
        let Value::Array(list) = slot else { return };
        // `a[][x]=1&a[][y]=2` describes one element, until a key comes again.
        let fits = |last: &Value| rest.first().is_some_and(|key| last.is_object() && last.get(key).is_none());
        if !list.last().is_some_and(fits) {
            list.push(Value::Null);
        }
        if let Some(last) = list.last_mut() {
            insert(last, rest, value);
        }
    } else {
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        if let Value::Object(map) = slot {
            insert(map.entry(first.clone()).or_insert(Value::Null), rest, value);
        }
    }
}

fn convert(value: &mut Value, kind: &Kind) -> Result<(), &'static str> {
    const INVALID: Result<(), &str> = Err("is invalid");
    match kind {
        Kind::Any => {}
        Kind::Text | Kind::Filled => {
            match value {
                Value::Number(number) => *value = Value::String(number.to_string()),
                Value::Bool(flag) => *value = Value::String(flag.to_string()),
                Value::String(_) => {}
                _ => return INVALID,
            }
            if *kind == Kind::Filled && value.as_str().is_some_and(|text| text.trim().is_empty()) {
                return Err("is empty");
            }
        }
        Kind::Int => return to_int(value),
        Kind::Float => match value.as_str().map(str::parse::<f64>) {
            Some(Ok(number)) => *value = Number::from_f64(number).map_or(Value::Null, Value::Number),
            Some(Err(_)) => return INVALID,
            None if value.is_number() => {}
            None => return INVALID,
        },
        Kind::Bool => match value {
            Value::Bool(_) => {}
            Value::String(text) => match text.as_str() {
                "true" | "True" | "TRUE" | "1" | "t" | "on" | "yes" => *value = Value::Bool(true),
                "false" | "False" | "FALSE" | "0" | "f" | "off" | "no" | "" => *value = Value::Bool(false),
                _ => return INVALID,
            },
            Value::Number(number) => match number.as_u64() {
                Some(0) => *value = Value::Bool(false),
                Some(1) => *value = Value::Bool(true),
                _ => return INVALID,
            },
            _ => return INVALID,
        },
        Kind::Time => {
            if value.as_str().is_none_or(|text| !text.is_empty() && timestamp(text).is_none()) {
                return INVALID;
            }
        }
        Kind::Date => {
            if value
                .as_str()
                .is_none_or(|text| !text.is_empty() && text.parse::<jiff::civil::Date>().is_err())
            {
                return INVALID;
            }
        }
        Kind::List => {
            if let Value::Object(map) = value
                && map.keys().all(|key| key.parse::<u32>().is_ok())
            {
                *value = Value::Array(map.values().cloned().collect());
            }
            match value {
                Value::Array(_) => {}
                Value::String(text) => {
                    *value = Value::Array(
                        text.split(',').filter(|part| !part.is_empty()).map(Value::from).collect(),
                    );
                }
                _ => return INVALID,
            }
        }
        Kind::Ints => {
            match value {
                Value::Array(_) => {}
                Value::String(text) => {
                    *value = Value::Array(
                        text.split(',').filter(|part| !part.is_empty()).map(Value::from).collect(),
                    );
                }
                Value::Number(_) => *value = Value::Array(vec![value.clone()]),
                _ => return INVALID,
            }
            if let Value::Array(list) = value {
                list.retain(|item| item.as_str() != Some(""));
                for item in list {
                    to_int(item)?;
                }
            }
        }
        Kind::Hash => {
            if !value.is_object() {
                return INVALID;
            }
        }
        Kind::Enum(choices) => {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return Err("does not have a valid value"),
            };
            if !choices.contains(&text) {
                return Err("does not have a valid value");
            }
            *value = Value::String(text);
        }
        Kind::EnumList(choices) => {
            convert(value, &Kind::List)?;
            let fits =
                |item: &Value| item.as_str().is_some_and(|text| choices.iter().any(|choice| choice == text));
            if !value.as_array().is_some_and(|list| list.iter().all(fits)) {
                return Err("does not have a valid value");
            }
        }
    }
    Ok(())
}

fn to_int(value: &mut Value) -> Result<(), &'static str> {
    match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(()),
        Value::String(text) => match text.trim().parse::<i64>() {
            Ok(number) => {
                *value = Value::from(number);
                Ok(())
            }
            Err(_) if text.is_empty() => {
                *value = Value::Null;
                Ok(())
            }
            Err(_) => Err("is invalid"),
        },
        _ => Err("is invalid"),
    }
}

/// A point in time in one of the forms the servers accept; a date alone is its midnight.
pub(crate) fn timestamp(text: &str) -> Option<jiff::Timestamp> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at);
    }
    let date = text.parse::<jiff::civil::DateTime>().ok()?;
    date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(query: &str) -> Params {
        let mut params = Params::default();
        params.add_pairs(&pairs(query));
        params
    }

    #[test]
    fn nested_names_become_a_tree() {
        let params = read("a[]=1&a[]=2&b[c]=3&d[][x]=1&d[][y]=2&d[][x]=3&e=a%20b+c");
        assert_eq!(params.get("a"), Some(&json!(["1", "2"])));
        assert_eq!(params.get("b"), Some(&json!({"c": "3"})));
        assert_eq!(params.get("d"), Some(&json!([{"x": "1", "y": "2"}, {"x": "3"}])));
        assert_eq!(params.text("e"), Some("a b c"));
    }

    #[test]
    fn complaints_come_in_declared_order() {
        let specs =
            declare("branch!:filled message! state:enum(opened|closed) n:int ids:ints flag:bool at:time");
        let mut params = read("branch=&state=x&n=1a&ids=1,2&flag=1&at=2026-01-02");
        assert_eq!(
            params.check(&specs),
            ["branch is empty", "message is missing", "state does not have a valid value", "n is invalid"]
        );
        assert_eq!(params.ids("ids"), Some(vec![1, 2]));
        assert!(params.flag("flag"));
    }
}
