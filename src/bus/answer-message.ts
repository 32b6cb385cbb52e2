import { encodeBody } from '../contract/body.ts'
import type { ContractTypes, DefinedContract } from '../contract/contract.ts'
import { CONTENT_TYPE } from '../contract/wire.ts'
import type { WireMessage } from '../core/envelope.ts'
import { isTrunklineError } from '../core/errors.ts'
import { DECLARED_OUTCOME, failureOf } from './calls.ts'
import type { AnswerOutcome } from './delivery-runner.ts'
import type { Envelopes } from './envelopes.ts'
import { KeptAnswer } from './kept-answer.ts'

/**
 * An answer finds its asker by the address that it goes to. Its id is made only where a transport writes one, because that costs
 * more than the rest of it.
 */
class AnswerMessage implements WireMessage {
  readonly source: string
  readonly type: string
  readonly version: number
  readonly time = ''
  readonly contentType = CONTENT_TYPE
  readonly key: undefined
  readonly correlationId: undefined
  readonly causationId: undefined
  readonly deadline: undefined
  readonly tenant: undefined
  readonly traceparent: undefined
  readonly tracestate: undefined
  readonly hops = 0
  readonly replyTo: undefined
  readonly outcome: string | undefined
  readonly headers: undefined
  readonly body: Uint8Array
  readonly defect: undefined
  readonly #envelopes: Envelopes
  #id: string | undefined

  constructor(envelopes: Envelopes, contract: { readonly type: string; readonly version: number }, body: Uint8Array, outcome: string | undefined) {
    this.#envelopes = envelopes
    this.source = envelopes.source
    this.type = contract.type
    this.version = contract.version
    this.outcome = outcome
    this.body = body
  }

  get id(): string {
    this.#id ??= this.#envelopes.freshId()
    return this.#id
  }
}

/** Encodes an outcome; an answer that does not fit its schema becomes a failure that says so. */
export function answerMessage(envelopes: Envelopes, contract: DefinedContract<string, ContractTypes>, outcome: AnswerOutcome): WireMessage {
  try {
    if (outcome.kind === 'value') return new AnswerMessage(envelopes, contract, encodedValue(contract, outcome.value), undefined)
    const { error } = outcome
    if (isTrunklineError(error, 'contract.declared_error') && error.details.type === contract.type && contract.declaresError(error.details.name)) {
      return new AnswerMessage(envelopes, contract, encodeBody(contract.type, error.details.data), `${DECLARED_OUTCOME}${error.details.name}`)
    }
    return failed(envelopes, contract, error, outcome.isRefusal === true)
  } catch (unencodable) {
    return failed(envelopes, contract, unencodable, false)
  }
}

function encodedValue(contract: DefinedContract<string, ContractTypes>, value: unknown): Buffer {
  if (!(value instanceof KeptAnswer)) return contract.encodeReply(value)
  // Handled before: the asker gets what was answered then.
  return value.body === undefined ? contract.encodeReply(undefined) : Buffer.from(value.body)
}

function failed(envelopes: Envelopes, contract: DefinedContract<string, ContractTypes>, error: unknown, isRefusal: boolean): WireMessage {
  return new AnswerMessage(envelopes, contract, encodeBody(contract.type, failureOf(error, isRefusal)), 'failed')
}
