/** Snappy, LZ4 and zstd for kafkajs, which reads gzip only by itself. */

import { Decoder as ZstdDecoder, Encoder as ZstdEncoder } from '@toondepauw/node-zstd'
import kafkajs from 'kafkajs'
import * as lz4 from 'lz4-napi'
import * as snappy from 'snappy'

const { CompressionCodecs, CompressionTypes } = kafkajs

/** What kafkajs wants of a codec. */
export interface CompressionCodec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>
  decompress(buffer: Buffer): Promise<Buffer>
  /** Decompresses at once, where that takes less than a thread to do it. */
  decompressNow?(buffer: Buffer): Buffer
}

/** Compressed bytes that are not worth a thread. */
const MAX_NOW_BYTES = 1024 * 1024

/** Java's clients put blocks of Snappy into a frame of their own ("xerial"); librdkafka sends one bare block. */
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_HEADER = 16
const XERIAL_BLOCK = 32 * 1024

async function unsnappy(block: Buffer): Promise<Buffer> {
  return (await snappy.uncompress(block, { asBuffer: true })) as Buffer
}

export const snappyCodec: CompressionCodec = {
  async compress({ buffer }) {
    const header = Buffer.alloc(XERIAL_HEADER)
    XERIAL_MAGIC.copy(header)
    header.writeInt32BE(1, 8)
    header.writeInt32BE(1, 12)
    const parts: Buffer[] = [header]
    for (let at = 0; at < buffer.length; at += XERIAL_BLOCK) {
      const block = await snappy.compress(buffer.subarray(at, at + XERIAL_BLOCK))
      const size = Buffer.alloc(4)
      size.writeInt32BE(block.length)
      parts.push(size, block)
    }
    return Buffer.concat(parts)
  },
  async decompress(buffer) {
    if (buffer.length < XERIAL_MAGIC.length || !buffer.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) {
      return unsnappy(buffer)
    }
    const blocks: Buffer[] = []
    let at = XERIAL_HEADER
    while (at < buffer.length) {
      if (at + 4 > buffer.length) throw new Error(`snappy: the frame ends within a block size at byte ${at}`)
      const size = buffer.readInt32BE(at)
      at += 4
      if (size < 0 || at + size > buffer.length) {
        throw new Error(`snappy: a block of ${size} bytes at byte ${at} reaches beyond the frame's ${buffer.length}`)
      }
      blocks.push(await unsnappy(buffer.subarray(at, at + size)))
      at += size
    }
    return blocks.length === 1 ? (blocks[0] as Buffer) : Buffer.concat(blocks)
  },
}

export const lz4Codec: CompressionCodec = {
  compress: ({ buffer }) => lz4.compressFrame(buffer),
  decompress: (buffer) => lz4.decompressFrame(buffer),
  decompressNow: (buffer) => lz4.decompressFrameSync(buffer),
}

const ZSTD_LEVEL = 3

export const zstdCodec: CompressionCodec = {
  compress: ({ buffer }) => new ZstdEncoder(ZSTD_LEVEL).encode(buffer),
  decompress: (buffer) => new ZstdDecoder().decode(buffer),
}

const CODECS: [type: number, codec: CompressionCodec][] = [
  [CompressionTypes.Snappy, snappyCodec],
  [CompressionTypes.LZ4, lz4Codec],
  [CompressionTypes.ZSTD, zstdCodec],
]

/**
 * Registers the codecs that kafkajs lacks. A codec that the program registered itself stays.
 * It is for the kafkajs that this package loads; a `Kafka` instance of another copy needs its own.
 */
export function registerCodecs(): void {
  const registered = CompressionCodecs as unknown as Record<number, () => unknown>
  for (const [type, codec] of CODECS) {
    try {
      // kafkajs's own entries for these throw KafkaJSNotImplemented.
      registered[type]?.()
      if (registered[type]) continue
    } catch (error) {
      if ((error as Error).name !== 'KafkaJSNotImplemented') continue
    }
    registered[type] = () => codec
  }
}

/**
 * Decompresses the records of a batch by the codec that is registered for it.
 * @throws KafkaJSNotImplemented, or what the codec throws
 */
export function decompress(type: number, bytes: Buffer): Buffer | Promise<Buffer> {
  const codec = (CompressionCodecs as unknown as Record<number, (() => CompressionCodec) | undefined>)[type]?.()
  if (!codec) throw new Error(`no compression has the number ${type}`)
  if (codec.decompressNow && bytes.length <= MAX_NOW_BYTES) return codec.decompressNow(bytes)
  return codec.decompress(bytes)
}
