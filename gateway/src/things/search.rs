//! Search without accents: `tram bom` finds `Trạm bơm`, `do son` finds `Đồ Sơn`.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Lower case without accents; đ becomes d, runs of white space one blank.
pub(super) fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        for character in word.nfd().filter(|character| !is_combining_mark(*character)) {
            match character {
                'đ' | 'Đ' => out.push('d'),
                other => out.extend(other.to_lowercase()),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn a2_5_accents_case_and_d_bar_do_not_matter() {
        for (text, wanted) in [
            ("Trạm bơm  Đồ Sơn", "tram bom do son"),
            ("NGÔ QUYỀN", "ngo quyen"),
            // Composed and decomposed are the same.
            ("Hải Phòng", "hai phong"),
            ("Ha\u{309}i Pho\u{300}ng", "hai phong"),
            ("  KHI003\t", "khi003"),
            ("", ""),
        ] {
            assert_eq!(folded(text), wanted);
        }
    }
}
