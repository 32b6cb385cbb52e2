import { type Contract, defined } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Envelopes } from './envelopes.ts'
import type { MessageMaker, MessageMakerOptions, Outbound } from './port.ts'

/** Makes messages that are stored first and published later, from the same parts as the bus makes its own. */
export class EnvelopeMaker implements MessageMaker {
  readonly #envelopes: Envelopes
  readonly #bodyBytesMax: number

  constructor(envelopes: Envelopes, bodyBytesMax: number) {
    this.#envelopes = envelopes
    this.#bodyBytesMax = bodyBytesMax
  }

  make(contract: Contract, data: unknown, options?: MessageMakerOptions): Outbound {
    const known = defined(contract)
    if (known.kind === 'query') throw new TrunklineError('contract.definition_invalid', { type: known.type, problem: 'a query is asked, and never stored' })
    const encoded = known.encode(data, this.#bodyBytesMax)
    const message = this.#envelopes.make(known, encoded, options, options?.deadlineAtMs === undefined ? undefined : { deadlineAtMs: options.deadlineAtMs })
    return { kind: known.kind, message }
  }
}
