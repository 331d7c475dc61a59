//! Forms with files in them.

/// The fields of a `multipart/form-data` body with their bytes, in order.
pub(crate) fn parse(content_type: &str, body: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    let mark = format!("--{}", boundary.trim_matches('"')).into_bytes();
    let mut rest = &body[find(body, &mark)? + mark.len()..];
    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        let head_end = find(rest, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        let content = &rest[head_end + 4..];
        let end = find(content, &[b"\r\n".as_slice(), &mark].concat())?;
        fields.push((name(&head)?, content[..end].to_vec()));
        rest = &content[end + 2 + mark.len()..];
    }
    Some(fields)
}

fn name(head: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let value = line.split(';').find_map(|part| part.trim().strip_prefix("name="))?;
    Some(value.trim_matches('"').to_owned())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn fields_keep_their_bytes() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"branch\"\r\n\r\nmain\r\n\
            --xx\r\nContent-Disposition: form-data; name=\"content\"; filename=\"a\"\r\nContent-Type: text/plain\r\n\r\n\
            a\r\n\0b\r\n\r\n--xx--\r\n";
        let fields = parse("multipart/form-data; boundary=\"xx\"", body).unwrap();
        assert_eq!(fields[0], ("branch".to_owned(), b"main".to_vec()));
        assert_eq!(fields[1], ("content".to_owned(), b"a\r\n\0b\r\n".to_vec()));
        assert!(parse("multipart/form-data; boundary=yy", body).is_none());
    }
}
