//! `CUDA_VISIBLE_DEVICES`.

/// Which devices a program sees, in its own order. `uuids` are those of all devices.
///
/// Without the variable all. Else a list of ordinals, or of UUIDs as `GPU-` and enough of their digits to mean one device;
/// what is no device ends the list, and a device named twice empties it.
pub fn choose(wish: Option<&str>, uuids: &[[u8; 16]]) -> Vec<usize> {
    let Some(wish) = wish else { return (0..uuids.len()).collect() };
    let mut chosen = Vec::new();
    for item in wish.split(',').map(str::trim) {
        let Some(device) = device(item, uuids) else { break };
        if chosen.contains(&device) {
            return Vec::new();
        }
        chosen.push(device);
    }
    chosen
}

fn device(item: &str, uuids: &[[u8; 16]]) -> Option<usize> {
    if let Some(start) = item.strip_prefix("GPU-") {
        let start = start.to_ascii_lowercase();
        let mut found = (0..uuids.len()).filter(|&at| uuid_text(&uuids[at]).starts_with(&start));
        return found.next().filter(|_| !start.is_empty() && found.next().is_none());
    }
    item.parse().ok().filter(|&ordinal: &usize| ordinal < uuids.len())
}

/// A UUID as tools write it, without the `GPU-`.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUIDS: [[u8; 16]; 3] = [[0x11; 16], [0x12; 16], [0xab; 16]];

    #[test]
    fn without_the_variable_every_device_is_visible() {
        assert_eq!(choose(None, &UUIDS), [0, 1, 2]);
    }

    #[test]
    fn ordinals_choose_and_order_until_the_first_that_is_none() {
        assert_eq!(choose(Some("2, 0"), &UUIDS), [2, 0]);
        assert_eq!(choose(Some("1,-1,0"), &UUIDS), [1]);
        assert_eq!(choose(Some("1,3,0"), &UUIDS), [1]);
        assert_eq!(choose(Some(""), &UUIDS), [0; 0]);
        assert_eq!(choose(Some("NoDevFiles"), &UUIDS), [0; 0]);
    }

    #[test]
    fn a_uuid_may_be_cut_short_while_it_means_one_device() {
        assert_eq!(choose(Some("GPU-ab"), &UUIDS), [2]);
        assert_eq!(choose(Some("GPU-ABABABAB-abab"), &UUIDS), [2]);
        assert_eq!(choose(Some("GPU-1"), &UUIDS), [0; 0]);
        assert_eq!(choose(Some("GPU-"), &UUIDS), [0; 0]);
    }

    #[test]
    fn a_device_named_twice_empties_the_list() {
        assert_eq!(choose(Some("0,1,0"), &UUIDS), [0; 0]);
    }
}
