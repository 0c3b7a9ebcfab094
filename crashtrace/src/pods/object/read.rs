//! Fields that may hold anything. PURE.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::MAX_CONTAINERS;

/// Text, a number or a truth value: absent where there is another.
pub(in crate::pods) fn field<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let json = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(json.get()).unwrap_or_default())
}

/// An object: an empty one where there is something else.
pub(in crate::pods) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(read(<&RawValue>::deserialize(from)?).unwrap_or_default())
}

/// The objects of a list, without elements that are none.
pub(in crate::pods) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let json = <&RawValue>::deserialize(from)?;
    let elements: Vec<&RawValue> = serde_json::from_str(json.get()).unwrap_or_default();
    Ok(elements.into_iter().filter_map(read).take(MAX_CONTAINERS).collect())
}

/// serde would also read a list as an object, field by field.
pub(in crate::pods) fn read<'de, T: Deserialize<'de>>(json: &'de RawValue) -> Option<T> {
    let json = json.get();
    json.starts_with('{').then(|| serde_json::from_str(json).ok())?
}
