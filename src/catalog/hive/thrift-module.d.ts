/** The part of the package `thrift` that is used: it brings no types of its own. */

declare module 'thrift' {
  namespace thrift {
    interface Message {
      fname: string
      mtype: number
      rseqid: number
    }

    interface Int64 {
      readonly buffer: Buffer
    }

    interface Transport {
      commitPosition(): void
      rollbackPosition(): void
    }

    interface TransportClass {
      new (buffer?: Buffer, onFlush?: (bytes: Buffer) => void): Transport
      receiver(onMessage: (transport: Transport) => void, sequence?: number, maxLength?: number): (data: Buffer) => void
    }

    interface Protocol {
      flush(): void
      writeMessageBegin(name: string, type: number, sequence: number): void
      writeMessageEnd(): void
      writeFieldBegin(name: string, type: number, id: number): void
      writeFieldStop(): void
      writeMapBegin(keys: number, values: number, size: number): void
      writeListBegin(of: number, size: number): void
      writeBool(value: boolean): void
      writeByte(value: number): void
      writeI16(value: number): void
      writeI32(value: number): void
      writeI64(value: Int64): void
      writeDouble(value: number): void
      writeString(value: string | Buffer): void
      readMessageBegin(): Message
      readFieldBegin(): { ftype: number; fid: number }
      readMapBegin(): { ktype: number; vtype: number; size: number }
      readListBegin(): { etype: number; size: number }
      readBool(): boolean
      readByte(): number
      readI16(): number
      readI32(): number
      readI64(): Int64
      readDouble(): number
      readBinary(): Buffer
    }

    const TBinaryProtocol: new (transport: Transport, strictRead?: boolean, strictWrite?: boolean) => Protocol
    const TBufferedTransport: TransportClass
    const TFramedTransport: TransportClass
  }

  export default thrift
}
