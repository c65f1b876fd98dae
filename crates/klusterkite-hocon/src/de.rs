//! Values as input of serde.

use std::fmt;
use std::time::Duration;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use crate::config::boolean_of_text;
use crate::error::Error;
use crate::origin::Origin;
use crate::path::{Key, ROOT, render_keys};
use crate::units;
use crate::value::{Object, Value, ValueKind, whole_number};

/// Reads a value that lies at the given keys.
pub(crate) fn deserialize<T: DeserializeOwned>(value: &Value, keys: &[Key]) -> Result<T, Error> {
    T::deserialize(ValueDeserializer(value)).map_err(|failure| {
        let inner = failure.keys.into_iter().rev();
        let keys: Vec<Key> = keys.iter().cloned().chain(inner).collect();
        let path = if keys.is_empty() {
            ROOT.to_owned()
        } else {
            render_keys(&keys)
        };
        Error::BadValue {
            origin: failure.origin.unwrap_or_else(|| value.origin().clone()),
            path,
            problem: format!("does not fit: {}", failure.problem),
        }
    })
}

/// Reads a duration; for `#[serde(deserialize_with = "…")]`.
pub fn deserialize_duration<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    let text = source.deserialize_any(ScalarText("a duration such as 10s"))?;
    units::parse_duration(&text).map_err(|problem| de::Error::custom(format!("`{text}` {problem}")))
}

/// Reads a size in bytes; for `#[serde(deserialize_with = "…")]`.
pub fn deserialize_size<'de, D: Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
    let text = source.deserialize_any(ScalarText("a size such as 64K"))?;
    units::parse_size(&text).map_err(|problem| de::Error::custom(format!("`{text}` {problem}")))
}

/// Takes a string or number as text.
struct ScalarText(&'static str);

impl Visitor<'_> for ScalarText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// Why a value does not fit, and where, collected on the way out.
#[derive(Debug)]
struct Failure {
    problem: String,
    /// Innermost first.
    keys: Vec<Key>,
    origin: Option<Origin>,
}

impl Failure {
    fn inside(mut self, key: &str, value: &Value) -> Self {
        self.keys.push(Key::from(key));
        self.origin.get_or_insert_with(|| value.origin().clone());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            problem: message.to_string(),
            keys: Vec::new(),
            origin: None,
        }
    }
}

#[derive(Clone, Copy)]
struct ValueDeserializer<'a>(&'a Value);

impl<'a> ValueDeserializer<'a> {
    fn unexpected<'de, V: Visitor<'de>>(self, visitor: &V) -> Failure {
        let unexpected = match self.0.kind() {
            ValueKind::Null => Unexpected::Other("null"),
            ValueKind::Boolean(boolean) => Unexpected::Bool(*boolean),
            ValueKind::Number(number) => Unexpected::Other(number.text()),
            ValueKind::String(text) => Unexpected::Str(text),
            ValueKind::List(_) => Unexpected::Seq,
            ValueKind::Object(_) => Unexpected::Map,
        };
        de::Error::invalid_type(unexpected, visitor)
    }

    /// Returns the text of a value that may be a number.
    fn number_text(self) -> Option<&'a str> {
        match self.0.kind() {
            ValueKind::Number(number) => Some(number.text()),
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Some(text) = self.number_text() else {
            return Err(self.unexpected(&visitor));
        };
        match (whole_number(text), text.parse::<u64>()) {
            // Some visitors take unsigned numbers only.
            (Some(number), _) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(number),
            },
            (None, Ok(number)) => visitor.visit_u64(number),
            (None, Err(_)) => Err(self.unexpected(&visitor)),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.number_text().and_then(|text| text.parse::<f64>().ok()) {
            Some(number) if number.is_finite() => visitor.visit_f64(number),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0.as_text() {
            Some(text) => visitor.visit_str(text),
            None => Err(self.unexpected(&visitor)),
        }
    }
}

macro_rules! forward {
    ($target:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.$target(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for ValueDeserializer<'_> {
    type Error = Failure;

    forward! {integer:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }
    forward! {float: deserialize_f32 deserialize_f64}
    forward! {text: deserialize_char deserialize_str deserialize_string deserialize_identifier}

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0.kind() {
            ValueKind::Null => visitor.visit_unit(),
            ValueKind::Boolean(boolean) => visitor.visit_bool(*boolean),
            ValueKind::Number(number) if number.as_i64().is_some() => self.integer(visitor),
            ValueKind::Number(number) if number.text().parse::<u64>().is_ok() => {
                self.integer(visitor)
            }
            ValueKind::Number(_) => self.float(visitor),
            ValueKind::String(text) => visitor.visit_str(text),
            ValueKind::List(_) => self.deserialize_seq(visitor),
            ValueKind::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0.kind() {
            ValueKind::Boolean(boolean) => visitor.visit_bool(*boolean),
            ValueKind::String(text) => match boolean_of_text(text) {
                Some(boolean) => visitor.visit_bool(boolean),
                None => Err(self.unexpected(&visitor)),
            },
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Some(items) = self.0.to_list() else {
            return Err(self.unexpected(&visitor));
        };
        let mut access = Items {
            items: &items,
            next: 0,
        };
        visitor.visit_seq(&mut access)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Some(object) = self.0.as_object() else {
            return Err(self.unexpected(&visitor));
        };
        visitor.visit_map(Fields {
            fields: object.iter(),
            current: None,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if let Some(text) = self.0.as_text() {
            return visitor.visit_enum(text.into_deserializer());
        }
        let fields = self.0.as_object().map(Object::iter);
        match fields.map(|mut fields| (fields.next(), fields.next())) {
            Some((Some((name, content)), None)) => visitor.visit_enum(Variant { name, content }),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { bytes byte_buf unit unit_struct }
}

struct Items<'a> {
    items: &'a [Value],
    next: usize,
}

impl<'de> SeqAccess<'de> for &mut Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let Some(item) = self.items.get(self.next) else {
            return Ok(None);
        };
        let index = self.next.to_string();
        self.next += 1;
        seed.deserialize(ValueDeserializer(item))
            .map(Some)
            .map_err(|failure| failure.inside(&index, item))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Fields<'a, I: Iterator<Item = (&'a str, &'a Value)>> {
    fields: I,
    current: Option<(&'a str, &'a Value)>,
}

impl<'de, 'a, I: Iterator<Item = (&'a str, &'a Value)>> MapAccess<'de> for Fields<'a, I> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        self.current = self.fields.next();
        let Some((key, value)) = self.current else {
            return Ok(None);
        };
        let key_deserializer: StrDeserializer<'_, Failure> = key.into_deserializer();
        seed.deserialize(key_deserializer)
            .map(Some)
            .map_err(|failure| failure.inside(key, value))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let Some((key, value)) = self.current else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(ValueDeserializer(value))
            .map_err(|failure| failure.inside(key, value))
    }
}

struct Variant<'a> {
    name: &'a str,
    content: &'a Value,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Failure;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content<'a>), Failure> {
        let name: StrDeserializer<'_, Failure> = self.name.into_deserializer();
        let variant = seed.deserialize(name)?;
        Ok((variant, Content(self)))
    }
}

struct Content<'a>(Variant<'a>);

impl Content<'_> {
    fn deserializer(&self) -> ValueDeserializer<'_> {
        ValueDeserializer(self.0.content)
    }

    fn located<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| failure.inside(self.0.name, self.0.content))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        self.located(Err(de::Error::invalid_type(
            Unexpected::Map,
            &"a variant without content",
        )))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        self.located(seed.deserialize(self.deserializer()))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.located(self.deserializer().deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.located(self.deserializer().deserialize_map(visitor))
    }
}
