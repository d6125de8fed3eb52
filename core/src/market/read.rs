//! Reading a market: a profile file, and what a plan overrides in it.

use super::Market;
use super::board::BOARD_ITEMS;
use crate::error::EngineError;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The profiles that come with the engine; each is a file.
pub const PROFILES: [(&str, &str); 9] = [
    ("simple", include_str!("profiles/simple.json")),
    ("cn_stock", include_str!("profiles/cn_stock.json")),
    ("cn_fund", include_str!("profiles/cn_fund.json")),
    ("cn_future", include_str!("profiles/cn_future.json")),
    ("cn_option", include_str!("profiles/cn_option.json")),
    ("us_stock", include_str!("profiles/us_stock.json")),
    ("hk_stock", include_str!("profiles/hk_stock.json")),
    ("crypto", include_str!("profiles/crypto.json")),
    ("fx", include_str!("profiles/fx.json")),
];

/// Reads a market from its JSON form: `profile` names the base, everything else overrides an item of it.
pub fn read_market<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Market, D::Error> {
    let overrides = Map::<String, Value>::deserialize(deserializer)?;
    let whole = over_profile(overrides).map_err(D::Error::custom)?;
    let mut market = Market::deserialize(Value::Object(whole)).map_err(D::Error::custom)?;
    market.corporate_actions.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    Ok(market)
}

/// The items of a profile as JSON, those of `simple` included.
pub fn profile_items(name: &str) -> Result<Map<String, Value>, EngineError> {
    over_profile(Map::from_iter([("profile".to_owned(), Value::String(name.to_owned()))]))
}

fn over_profile(overrides: Map<String, Value>) -> Result<Map<String, Value>, EngineError> {
    let name = match overrides.get("profile") {
        None => "simple",
        Some(Value::String(name)) => name,
        Some(other) => return Err(EngineError::Spec(format!("market.profile must be a name, got {other}"))),
    };
    let Some((_, text)) = PROFILES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = PROFILES.iter().map(|(known, _)| *known).collect();
        let message = format!("market.profile: unknown profile {name:?}, known: {}", known.join(", "));
        return Err(EngineError::Spec(message));
    };
    let broken = |_| EngineError::Internal("a market profile of the engine cannot be read");
    let Ok(Value::Object(mut base)) = serde_json::to_value(Market::default()) else {
        return Err(EngineError::Internal("the default market cannot be written"));
    };
    merge(&mut base, serde_json::from_str(text).map_err(broken)?);
    if !overrides.contains_key("boards")
        && let Some(Value::Array(boards)) = base.get_mut("boards")
    {
        // What is said for the whole market holds for its boards too.
        for board in boards.iter_mut().filter_map(Value::as_object_mut) {
            board.retain(|item, _| !(BOARD_ITEMS.contains(&item.as_str()) && overrides.contains_key(item)));
        }
    }
    merge(&mut base, overrides);
    Ok(base)
}

/// Lays one mapping over another: mappings merge, everything else is replaced.
fn merge(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Market, serde_json::Error> {
        read_market(&mut serde_json::Deserializer::from_str(text))
    }

    #[test]
    fn every_profile_is_sound_and_simple_is_the_default() {
        for (name, _) in PROFILES {
            let market = read(&format!(r#"{{"profile": "{name}"}}"#)).unwrap();
            market.check().unwrap();
            assert_eq!(market.profile, name);
        }
        assert_eq!(read("{}").unwrap(), Market::default());
    }

    #[test]
    fn overrides_reach_into_mappings_and_boards() {
        let market = read(r#"{"profile": "cn_stock", "commission": {"rate": 0.001}, "lot": 1}"#).unwrap();
        assert_eq!((market.commission.rate, market.commission.minimum), (0.001, 5.0));
        assert!(market.boards.iter().all(|board| board.lot.is_none()));
        assert!(market.boards.iter().any(|board| board.min_qty.is_some()));
    }

    #[test]
    fn unknown_profiles_and_items_are_named() {
        let message = read(r#"{"profile": "cn_stok"}"#).unwrap_err().to_string();
        assert!(message.contains("cn_stok") && message.contains("cn_stock"), "{message}");
        assert!(read(r#"{"lots": 1}"#).unwrap_err().to_string().contains("lots"));
    }
}
