//! Avro's parsing canonical form and its fingerprint, by the specification.
//!
//! In: a schema as JSON. Out: the one spelling of everything that decides how bytes are read, and its CRC-64-AVRO. Two
//! schemas with the same form read the same bytes.

use std::fmt::Write as _;

use serde_json::Value;

const PRIMITIVES: &[&str] = &["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// The canonical form: full names, only what decides the bytes, in one order, without white space.
pub fn canonical_form(schema: &Value) -> Result<String, String> {
    let mut out = String::new();
    write_schema(schema, "", false, &mut out)?;
    Ok(out)
}

/// The canonical form with the logical types left in: what decides the values too.
pub fn meaning(schema: &Value) -> Result<String, String> {
    let mut out = String::new();
    write_schema(schema, "", true, &mut out)?;
    Ok(out)
}

fn write_schema(schema: &Value, namespace: &str, logical: bool, out: &mut String) -> Result<(), String> {
    match schema {
        Value::String(name) => {
            write_string(&if PRIMITIVES.contains(&&**name) { name.clone() } else { full_name(name, namespace) }, out);
            Ok(())
        }
        Value::Array(variants) => {
            write_list(variants, out, |variant, out| write_schema(variant, namespace, logical, out))
        }
        Value::Object(object) => {
            let kind = object.get("type").ok_or_else(|| format!("{schema} has no type"))?;
            let Value::String(kind) = kind else {
                // {"type": {"type": "string"}}: a wrapper that adds nothing.
                return write_schema(kind, namespace, logical, out);
            };
            let logical_type = object.get("logicalType").filter(|_| logical);
            if logical_type.is_none() && (PRIMITIVES.contains(&&**kind) || !is_complex(kind)) {
                return write_schema(&Value::String(kind.clone()), namespace, logical, out);
            }
            let named = object.get("name").and_then(Value::as_str);
            let full = named.map(|name| match object.get("namespace").and_then(Value::as_str) {
                Some(own) => full_name(name, own),
                None => full_name(name, namespace),
            });
            let inner_namespace = match &full {
                Some(full) => full.rsplit_once('.').map_or("", |(namespace, _)| namespace),
                None => namespace,
            };
            out.push('{');
            if let Some(full) = &full {
                out.push_str(r#""name":"#);
                write_string(full, out);
                out.push(',');
            }
            out.push_str(r#""type":"#);
            write_string(kind, out);
            if let Some(fields) = object.get("fields") {
                out.push_str(r#","fields":"#);
                write_list(as_list(fields, "fields")?, out, |field, out| {
                    write_field(field, inner_namespace, logical, out)
                })?;
            }
            if let Some(symbols) = object.get("symbols") {
                out.push_str(r#","symbols":"#);
                write_list(as_list(symbols, "symbols")?, out, |symbol, out| {
                    write_string(symbol.as_str().ok_or_else(|| format!("symbol {symbol} is not a string"))?, out);
                    Ok(())
                })?;
            }
            for key in ["items", "values"] {
                if let Some(inner) = object.get(key) {
                    write!(out, r#","{key}":"#).expect("to a string");
                    write_schema(inner, namespace, logical, out)?;
                }
            }
            let mut numbers = vec!["size"];
            if let Some(logical_type) = logical_type {
                write!(out, r#","logicalType":{logical_type}"#).expect("to a string");
                numbers.extend(["precision", "scale"]);
            }
            for key in numbers {
                if let Some(number) = object.get(key) {
                    let number = match number {
                        Value::String(digits) => digits.trim_start_matches('0').parse::<u64>().ok(),
                        number => number.as_u64(),
                    };
                    let number = number.ok_or_else(|| format!("{key} is not a natural number"))?;
                    write!(out, r#","{key}":{number}"#).expect("to a string");
                }
            }
            out.push('}');
            Ok(())
        }
        other => Err(format!("{other} is not a schema")),
    }
}

fn write_field(field: &Value, namespace: &str, logical: bool, out: &mut String) -> Result<(), String> {
    let name = field.get("name").and_then(Value::as_str).ok_or_else(|| format!("field {field} has no name"))?;
    out.push_str(r#"{"name":"#);
    write_string(name, out);
    out.push_str(r#","type":"#);
    write_schema(field.get("type").ok_or_else(|| format!("field {name} has no type"))?, namespace, logical, out)?;
    out.push('}');
    Ok(())
}

fn write_list(
    items: &[Value],
    out: &mut String,
    mut each: impl FnMut(&Value, &mut String) -> Result<(), String>,
) -> Result<(), String> {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(item, out)?;
    }
    out.push(']');
    Ok(())
}

fn write_string(text: &str, out: &mut String) {
    out.push_str(&Value::String(text.to_owned()).to_string());
}

fn as_list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("{key} is not a list"))
}

fn is_complex(kind: &str) -> bool {
    matches!(kind, "record" | "error" | "enum" | "array" | "map" | "fixed")
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const TABLE: [u64; 256] = {
    let mut table = [0u64; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u64;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (EMPTY & 0u64.wrapping_sub(value & 1));
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// CRC-64-AVRO, the specification's Rabin fingerprint.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |hash, byte| (hash >> 8) ^ TABLE[((hash ^ u64::from(*byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(json: &str) -> String {
        canonical_form(&serde_json::from_str(json).expect("json")).expect("a schema")
    }

    /// From the specification's own table of test cases (`schema-tests.txt`): input, canonical form, fingerprint.
    const CASES: &[(&str, &str, i64)] = &[
        (r#""null""#, r#""null""#, 7195948357588979594),
        (r#"{"type":"null"}"#, r#""null""#, 7195948357588979594),
        (r#""boolean""#, r#""boolean""#, -6970731678124411036),
        (r#""int""#, r#""int""#, 8247732601305521295),
        (r#""long""#, r#""long""#, -3434872931120570953),
        (r#""float""#, r#""float""#, 5583340709985441680),
        (r#""double""#, r#""double""#, -8181574048448539266),
        (r#""bytes""#, r#""bytes""#, 5746618253357095269),
        (r#""string""#, r#""string""#, -8142146995180207161),
        (r#"[ ]"#, r#"[]"#, -1241056759729112623),
        (r#"[ "int"  ]"#, r#"["int"]"#, -5232228896498058493),
        (r#"[ "int" , {"type":"boolean"} ]"#, r#"["int","boolean"]"#, 5392556393470105090),
        (
            r#"{"fields":[], "type":"record", "name":"foo"}"#,
            r#"{"name":"foo","type":"record","fields":[]}"#,
            -4824392279771201922,
        ),
        (
            r#"{"fields":[], "type":"record", "name":"foo", "namespace":"x.y"}"#,
            r#"{"name":"x.y.foo","type":"record","fields":[]}"#,
            5916914534497305771,
        ),
        (
            r#"{"fields":[], "type":"record", "name":"a.b.foo", "namespace":"x.y"}"#,
            r#"{"name":"a.b.foo","type":"record","fields":[]}"#,
            -4616218487480524110,
        ),
        (
            r#"{"fields":[{"type":{"type":"boolean"}, "name":"f1"}], "type":"record", "name":"foo"}"#,
            r#"{"name":"foo","type":"record","fields":[{"name":"f1","type":"boolean"}]}"#,
            7843277075252814651,
        ),
    ];

    #[test]
    fn the_specifications_vectors_hold() {
        for (json, canonical, crc) in CASES {
            let found = form(json);
            assert_eq!(&found, canonical);
            assert_eq!(fingerprint(found.as_bytes()) as i64, *crc, "{json}");
        }
        let size = r#"{ "type":"fixed", "name":"foo", "namespace":"x.y", "size":"0032"}"#;
        assert_eq!(form(size), r#"{"name":"x.y.foo","type":"fixed","size":32}"#);
    }

    #[test]
    fn names_take_the_namespace_that_encloses_them() {
        let json = r#"{"type":"record","name":"Outer","namespace":"a.b","doc":"x","aliases":["Old"],"fields":[
            {"name":"one","type":{"type":"record","name":"other.Inner","fields":[
                {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["X","Y"],"default":"X"},"default":"X"}]}},
            {"name":"two","type":["null","other.Inner"],"default":null,"order":"ignore"},
            {"name":"three","type":{"type":"array","items":"Outer"}},
            {"name":"four","type":{"type":"map","values":{"type":"long","logicalType":"timestamp-millis"}}}]}"#;
        let expected = concat!(
            r#"{"name":"a.b.Outer","type":"record","fields":["#,
            r#"{"name":"one","type":{"name":"other.Inner","type":"record","fields":["#,
            r#"{"name":"kind","type":{"name":"other.Kind","type":"enum","symbols":["X","Y"]}}]}},"#,
            r#"{"name":"two","type":["null","other.Inner"]},"#,
            r#"{"name":"three","type":{"type":"array","items":"a.b.Outer"}},"#,
            r#"{"name":"four","type":{"type":"map","values":"long"}}]}"#,
        );
        assert_eq!(form(json), expected);
        fast_agrees(json);
        // apache-avro keeps the object around an annotated primitive, against the specification's rule [PRIMITIVES].
        agree(&json.replace(r#"{"type":"long","logicalType":"timestamp-millis"}"#, r#""long""#));
    }

    /// Three implementations, one form and one fingerprint.
    fn agree(json: &str) {
        let ours = form(json);
        let theirs = apache_avro::Schema::parse_str(json).expect("a schema");
        assert_eq!(ours, theirs.canonical_form());
        let rabin = theirs.fingerprint::<apache_avro::rabin::Rabin>();
        assert_eq!(fingerprint(ours.as_bytes()).to_le_bytes()[..], rabin.bytes[..]);
        fast_agrees(json);
    }

    fn fast_agrees(json: &str) {
        let ours = form(json);
        let fast: serde_avro_fast::Schema = json.parse().expect("a schema");
        assert_eq!(fast.rabin_fingerprint(), &fingerprint(ours.as_bytes()).to_le_bytes());
    }

    #[test]
    fn other_implementations_agree() {
        for (json, _, _) in CASES {
            // Others refuse an empty union.
            if !json.starts_with("[ ]") {
                agree(json);
            }
        }
        agree(
            r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]},{"name":"v","type":"int"}]}"#,
        );
        agree(r#"{"type":"fixed","name":"md5","namespace":"h","size":16}"#);
        agree(r#"{"type":"array","items":["string",{"type":"map","values":"bytes"}]}"#);
    }

    #[test]
    fn a_logical_type_changes_the_meaning_and_not_the_form() {
        let plain = serde_json::json!({"type": "long"});
        let time = serde_json::json!({"type": "long", "logicalType": "timestamp-millis"});
        assert_eq!(canonical_form(&plain), canonical_form(&time));
        assert_ne!(meaning(&plain), meaning(&time));
    }
}
