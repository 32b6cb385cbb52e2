import type { Outbound } from '../bus/port.ts'
import { bucketOf } from '../contract/names.ts'
import type { NewOutboxRow } from './port.ts'

/** Puts messages on the shards of an outbox: those of one key on one shard, those without a key in turn. */
export class Sharder {
  readonly #shards: number
  #turn = 0

  constructor(shards: number) {
    this.#shards = shards
  }

  place(outbound: Outbound): NewOutboxRow {
    const { key } = outbound.message
    const shard = key === undefined ? this.#turn++ % this.#shards : bucketOf(key) % this.#shards
    return { kind: outbound.kind, message: outbound.message, shard }
  }
}
