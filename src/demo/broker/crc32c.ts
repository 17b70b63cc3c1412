/** CRC-32C (Castagnoli), as in the header of a record batch. */

const TABLE = new Uint32Array(256)
for (let i = 0; i < 256; i++) {
  let value = i
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  TABLE[i] = value >>> 0
}

/** The CRC-32C of `bytes` from `start`, as an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array, start = 0): number {
  let crc = 0xffffffff
  for (let i = start; i < bytes.length; i++) {
    crc = (TABLE[(crc ^ (bytes[i] as number)) & 0xff] as number) ^ (crc >>> 8)
  }
  return (crc ^ 0xffffffff) >>> 0
}
