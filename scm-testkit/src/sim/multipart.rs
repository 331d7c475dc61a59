//! Bodies of `multipart/form-data`.

/// The fields in their order, as text; `None` where the body is not what its type says.
pub(crate) fn fields(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let text = |(name, content): (String, &[u8])| (name, String::from_utf8_lossy(content).into_owned());
    Some(parts(content_type, body)?.into_iter().map(text).collect())
}

/// The same with the bytes as they are.
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<(String, &'a [u8])>> {
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty())?;
    // With the line break before it a delimiter is always the same, but for the first, which starts the body.
    let delimiter = format!("\r\n--{boundary}");
    let (_, mut rest) = split(body, &delimiter.as_bytes()[2..])?;
    let mut fields = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(fields);
        }
        let (part, after) = split(rest, delimiter.as_bytes())?;
        let (head, content) = split(part, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(head);
        let name = head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case("content-disposition").then(|| parameter(value, "name"))?
        })?;
        fields.push((name, content));
        rest = after;
    }
}

/// The value of a parameter of a header, without its quotes.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// What stands before and after the first `needle`.
fn split<'a>(bytes: &'a [u8], needle: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(needle.len()).position(|window| window == needle)?;
    Some((&bytes[..at], &bytes[at + needle.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"xyz\"";

    #[test]
    fn fields_keep_their_order_and_their_line_breaks() {
        let body = "--xyz\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\none\r\ntwo — ü\r\n--xyz\r\n\
                    content-disposition: form-data; name=\"position[new_line]\"\r\ncontent-type: text/plain\r\n\r\n3\r\n--xyz--\r\n";
        let wanted = [("body", "one\r\ntwo — ü"), ("position[new_line]", "3")];
        assert_eq!(fields(TYPE, body.as_bytes()).unwrap(), wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(fields(TYPE, b"--xyz--\r\n").unwrap(), []);
    }

    #[test]
    fn parts_keep_their_bytes() {
        let body = b"--xyz\r\nContent-Disposition: form-data; name=\"content\"; filename=\"a\"\r\n\r\na\r\n\0\xff\r\n\r\n--xyz--\r\n";
        assert_eq!(parts(TYPE, body).unwrap(), [("content".to_owned(), b"a\r\n\0\xff\r\n".as_slice())]);
    }

    #[test]
    fn what_is_broken_has_no_fields() {
        let nameless = "--xyz\r\ncontent-type: text/plain\r\n\r\n3\r\n--xyz--\r\n";
        let endless = "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1";
        for body in ["", "a=1", nameless, endless] {
            assert_eq!(fields(TYPE, body.as_bytes()), None, "{body}");
        }
        assert_eq!(fields("multipart/form-data", b"--xyz--"), None);
    }
}
