//! A schema as a tree, for those who compile it.
//!
//! In: an Avro schema as JSON. Out: its types, each named type once, every reference to it an index. Names are full names;
//! aliases are those of the reader's side, so they are kept and mean nothing on the writer's.
//!
//! Invariant: every [`Shape::Named`] index is below the number of named types.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A type without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

impl Primitive {
    const ALL: [(&'static str, Primitive); 8] = [
        ("null", Primitive::Null),
        ("boolean", Primitive::Boolean),
        ("int", Primitive::Int),
        ("long", Primitive::Long),
        ("float", Primitive::Float),
        ("double", Primitive::Double),
        ("bytes", Primitive::Bytes),
        ("string", Primitive::String),
    ];

    fn named(name: &str) -> Option<Primitive> {
        Primitive::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, primitive)| primitive)
    }

    pub fn name(self) -> &'static str {
        Primitive::ALL.into_iter().find(|(_, primitive)| *primitive == self).map_or("?", |(name, _)| name)
    }
}

/// A type. Its logical type is kept where a wrong one would give wrong values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Primitive { primitive: Primitive, logical: Option<String> },
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Named(usize),
}

/// A type with a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Definition {
    pub name: String,
    pub aliases: Vec<String>,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Record { fields: Vec<Field> },
    Enum { symbols: Vec<String>, default: Option<String> },
    Fixed { size: usize },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub aliases: Vec<String>,
    pub shape: Shape,
    pub default: Option<Value>,
}

/// A whole schema.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shapes {
    pub root: Shape,
    pub named: Vec<Definition>,
}

impl Shapes {
    /// # Errors
    /// What is wrong with the schema, in words.
    pub fn parse(json: &str) -> Result<Shapes, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut parser = Parser { named: Vec::new(), index: BTreeMap::new() };
        let root = parser.shape(&value, "")?;
        let defined = |(name, definition): (String, Option<Definition>)| {
            definition.ok_or_else(|| format!("type {name} is not defined"))
        };
        let named: Result<Vec<Definition>, String> = parser.named.into_iter().map(defined).collect();
        Ok(Shapes { root, named: named? })
    }

    pub fn definition(&self, index: usize) -> &Definition {
        &self.named[index]
    }

    /// For people: `long`, `record segno.Click`, `union of null and string`.
    pub fn describe(&self, shape: &Shape) -> String {
        match shape {
            Shape::Primitive { primitive, logical: None } => primitive.name().to_owned(),
            Shape::Primitive { primitive, logical: Some(logical) } => format!("{} ({logical})", primitive.name()),
            Shape::Array(items) => format!("array of {}", self.describe(items)),
            Shape::Map(values) => format!("map of {}", self.describe(values)),
            Shape::Union(branches) => {
                let branches: Vec<String> = branches.iter().map(|branch| self.describe(branch)).collect();
                format!("union of {}", branches.join(" and "))
            }
            Shape::Named(index) => {
                let Definition { name, kind, .. } = self.definition(*index);
                match kind {
                    Kind::Record { .. } => format!("record {name}"),
                    Kind::Enum { .. } => format!("enum {name}"),
                    Kind::Fixed { size } => format!("fixed {name} of {size} bytes"),
                }
            }
        }
    }
}

struct Parser {
    /// `None` while a type is being parsed: what is inside may refer to it.
    named: Vec<(String, Option<Definition>)>,
    index: BTreeMap<String, usize>,
}

impl Parser {
    fn shape(&mut self, schema: &Value, namespace: &str) -> Result<Shape, String> {
        match schema {
            Value::String(name) => match Primitive::named(name) {
                Some(primitive) => Ok(Shape::Primitive { primitive, logical: None }),
                None => {
                    let full = full_name(name, namespace);
                    let known = self.index.get(&full).ok_or_else(|| format!("type {full} is not defined"))?;
                    Ok(Shape::Named(*known))
                }
            },
            Value::Array(branches) => {
                let branches: Result<Vec<Shape>, String> =
                    branches.iter().map(|branch| self.shape(branch, namespace)).collect();
                Ok(Shape::Union(branches?))
            }
            Value::Object(object) => self.object(object, namespace),
            other => Err(format!("{other} is not a schema")),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Shape, String> {
        let kind = object.get("type").ok_or("a type is missing")?;
        let Value::String(kind) = kind else { return self.shape(kind, namespace) };
        match kind.as_str() {
            "record" | "error" | "enum" | "fixed" => self.definition(kind, object, namespace),
            "array" => {
                let items = object.get("items").ok_or("an array has no items")?;
                Ok(Shape::Array(Box::new(self.shape(items, namespace)?)))
            }
            "map" => {
                let values = object.get("values").ok_or("a map has no values")?;
                Ok(Shape::Map(Box::new(self.shape(values, namespace)?)))
            }
            name => match self.shape(&Value::String(name.to_owned()), namespace)? {
                Shape::Primitive { primitive, .. } => Ok(Shape::Primitive { primitive, logical: logical(object) }),
                named => Ok(named),
            },
        }
    }

    fn definition(&mut self, kind: &str, object: &Map<String, Value>, namespace: &str) -> Result<Shape, String> {
        let name = object.get("name").and_then(Value::as_str).ok_or_else(|| format!("a {kind} has no name"))?;
        let name = full_name(name, object.get("namespace").and_then(Value::as_str).unwrap_or(namespace));
        let inside = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let aliases = texts(object, "aliases")?.iter().map(|alias| full_name(alias, &inside)).collect();
        let index = self.named.len();
        if self.index.insert(name.clone(), index).is_some() {
            return Err(format!("type {name} is defined twice"));
        }
        self.named.push((name.clone(), None));
        let kind = match kind {
            "enum" => Kind::Enum {
                symbols: texts(object, "symbols")?,
                default: object.get("default").and_then(Value::as_str).map(str::to_owned),
            },
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                Kind::Fixed { size: size.ok_or_else(|| format!("fixed {name} has no size"))? }
            }
            _ => {
                let fields = object.get("fields").and_then(Value::as_array);
                let fields = fields.ok_or_else(|| format!("record {name} has no fields"))?;
                let fields: Result<Vec<Field>, String> =
                    fields.iter().map(|field| self.field(field, &inside)).collect();
                Kind::Record { fields: fields? }
            }
        };
        self.named[index].1 = Some(Definition { name, aliases, kind });
        Ok(Shape::Named(index))
    }

    fn field(&mut self, field: &Value, namespace: &str) -> Result<Field, String> {
        let Value::Object(object) = field else { return Err(format!("{field} is not a field")) };
        let name = object.get("name").and_then(Value::as_str).ok_or("a field has no name")?;
        let shape = object.get("type").ok_or_else(|| format!("field {name} has no type"))?;
        Ok(Field {
            name: name.to_owned(),
            aliases: texts(object, "aliases")?,
            shape: self.shape(shape, namespace).map_err(|error| format!("field {name}: {error}"))?,
            default: object.get("default").cloned(),
        })
    }
}

/// Two values of one primitive with different logical types mean different things; for a decimal also with another scale.
fn logical(object: &Map<String, Value>) -> Option<String> {
    let name = object.get("logicalType")?.as_str()?;
    if name != "decimal" {
        return Some(name.to_owned());
    }
    let number = |key: &str| object.get(key).and_then(Value::as_u64).unwrap_or(0);
    Some(format!("decimal of precision {} and scale {}", number("precision"), number("scale")))
}

fn texts(object: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let Some(list) = object.get(key) else { return Ok(Vec::new()) };
    let list = list.as_array().ok_or_else(|| format!("{key} is not a list"))?;
    list.iter()
        .map(|text| text.as_str().map(str::to_owned).ok_or_else(|| format!("{text} in {key} is no name")))
        .collect()
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// The name without its namespace: what resolution compares.
pub(super) fn unqualified(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}
