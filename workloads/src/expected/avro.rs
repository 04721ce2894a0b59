//! A small reader of framed Avro for the third computation: it shares no line with the engine or with the codecs that
//! the pipelines use.
//!
//! In: bytes. Out: fields one by one, or what is wrong, in words.

/// The rest of a value.
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// If the bytes are not a framed value of schema `id`.
    pub fn framed(bytes: &'a [u8], id: u32) -> Result<Reader<'a>, String> {
        let (found, reader) = Reader::any(bytes)?;
        if found != id {
            return Err(format!("schema {found} instead of {id}"));
        }
        Ok(reader)
    }

    /// The schema's id, and what follows the frame.
    ///
    /// # Errors
    /// If the bytes are no framed value.
    pub fn any(bytes: &'a [u8]) -> Result<(u32, Reader<'a>), String> {
        let mut reader = Reader { bytes, position: 0 };
        let magic = reader.byte()?;
        if magic != 0 {
            return Err(format!("magic byte {magic} instead of 0"));
        }
        let mut found = 0u32;
        for _ in 0..4 {
            found = found * 256 + u32::from(reader.byte()?);
        }
        Ok((found, reader))
    }

    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.position).ok_or_else(|| format!("ends at byte {}", self.position))?;
        self.position += 1;
        Ok(*byte)
    }

    /// # Errors
    /// If the bytes end or hold more than 64 bits.
    pub fn long(&mut self) -> Result<i64, String> {
        let mut unsigned: u128 = 0;
        let mut scale: u128 = 1;
        for _ in 0..10 {
            let byte = self.byte()?;
            unsigned += u128::from(byte % 128) * scale;
            scale *= 128;
            if byte < 128 {
                let half = i128::try_from(unsigned / 2).map_err(|e| e.to_string())?;
                let signed = if unsigned.is_multiple_of(2) { half } else { -half - 1 };
                return i64::try_from(signed).map_err(|_| format!("{signed} is no 64-bit number"));
            }
        }
        Err("a number of more than ten bytes".to_owned())
    }

    /// # Errors
    /// If the bytes end or hold more than 32 bits.
    pub fn int(&mut self) -> Result<i32, String> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| format!("{long} is no 32-bit number"))
    }

    /// # Errors
    /// If the bytes end or are not UTF-8.
    pub fn string(&mut self) -> Result<String, String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("a string of {length} bytes"))?;
        let end = self.position.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("a string of {length} bytes runs past the end"))?;
        let text = std::str::from_utf8(&self.bytes[self.position..end]).map_err(|e| e.to_string())?;
        self.position = end;
        Ok(text.to_owned())
    }

    /// # Errors
    /// If bytes are left.
    pub fn end(self) -> Result<(), String> {
        if self.position == self.bytes.len() {
            return Ok(());
        }
        Err(format!("{} bytes after the value", self.bytes.len() - self.position))
    }
}

#[cfg(test)]
mod tests {
    use super::Reader;

    fn read(bytes: &[u8]) -> Result<i64, String> {
        let mut framed = vec![0, 0, 0, 1, 2];
        framed.extend_from_slice(bytes);
        let mut reader = Reader::framed(&framed, 258)?;
        let value = reader.long()?;
        reader.end()?;
        Ok(value)
    }

    #[test]
    fn longs_are_zigzag_with_seven_bits_a_byte() {
        assert_eq!(read(&[0x00]), Ok(0));
        assert_eq!(read(&[0x01]), Ok(-1));
        assert_eq!(read(&[0x02]), Ok(1));
        assert_eq!(read(&[0x80, 0x01]), Ok(64));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Ok(i64::MIN));
        assert!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).is_err());
        assert!(read(&[0x80]).is_err());
        assert!(read(&[0x00, 0x00]).is_err());
    }
}
