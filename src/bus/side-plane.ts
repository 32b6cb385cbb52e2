import { type Contract, type ContractTypes, type DefinedContract, defined } from '../contract/contract.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { answerMessage } from './answer-message.ts'
import type { Calls } from './calls.ts'
import type { Envelopes } from './envelopes.ts'
import type { LightDelivery, LightPlane, LightSubscription, SideAskOptions, SidePlane } from './port.ts'
import type { RuntimeTransport } from './runtime-transport.ts'

/** What the side plane of a bus needs from it. */
export interface SidePlaneParts {
  readonly transport: RuntimeTransport
  readonly envelopes: Envelopes
  readonly calls: Calls
  readonly logger: Logger
  readonly bodyBytesMax: number
}

/**
 * The light plane as the library itself uses it: typed, but beside the user's middleware, counters and contracts, so that what a
 * bus says about itself never shows up among what its service says.
 */
export class BusSidePlane implements SidePlane {
  readonly #parts: SidePlaneParts

  constructor(parts: SidePlaneParts) {
    this.#parts = parts
  }

  get problem(): string | undefined {
    const { inner } = this.#parts.transport
    if (inner.capabilities.canBroadcast && inner.capabilities.canRequest) return undefined
    return `the transport ${inner.name} carries no broadcasts and requests; give createBus a second one as light`
  }

  get address(): string {
    return this.#light().address
  }

  async broadcast(contract: Contract, data: unknown): Promise<void> {
    const { envelopes, bodyBytesMax } = this.#parts
    const known = defined(contract)
    await this.#light().broadcast(envelopes.make(known, known.encode(data, bodyBytesMax), undefined, { isLight: true }))
  }

  async ask(contract: Contract, data: unknown, options: SideAskOptions): Promise<unknown> {
    const { calls, envelopes, bodyBytesMax } = this.#parts
    const light = this.#light()
    const known = defined(contract)
    const encoded = known.encode(data, bodyBytesMax)
    const limits = { timeoutMs: options.timeoutMs, signal: undefined }
    return await calls.open(known, limits, (token) => light.request(envelopes.make(known, encoded, undefined, { isLight: true }), token, options.to))
  }

  async onBroadcast(contracts: readonly Contract[], sink: (contract: Contract, data: unknown) => void): Promise<LightSubscription> {
    const known = new Map(contracts.map((contract) => [contract.type, defined(contract)]))
    return await this.#light().onBroadcast([...known.keys()], ({ message }) => {
      const contract = known.get(message.type)
      if (contract !== undefined) this.#guarded(message.type, () => sink(contract, this.#read(contract, message)))
    })
  }

  async onAsk(contract: Contract, answer: (data: unknown) => unknown): Promise<LightSubscription> {
    const known = defined(contract)
    return await this.#light().onRequest(known.type, (delivery) => this.#guarded(known.type, () => this.#answer(known, delivery, answer)))
  }

  #answer(contract: DefinedContract<string, ContractTypes>, { message, replyTo }: LightDelivery, answer: (data: unknown) => unknown): void {
    if (replyTo === undefined) return
    const { envelopes } = this.#parts
    const reply = answerMessage(envelopes, contract, { kind: 'value', value: answer(this.#read(contract, message)) })
    this.#light().reply(replyTo, reply)?.catch((error: unknown) => this.#unheard(contract.type, error))
  }

  #read(contract: DefinedContract<string, ContractTypes>, message: LightDelivery['message']): unknown {
    if (message.defect !== undefined) throw new TrunklineError('contract.message_foreign', { problem: message.defect })
    return contract.decode(message.version, message.body, this.#parts.bodyBytesMax)
  }

  #guarded(type: string, work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#unheard(type, error)
    }
  }

  /** What one bus says badly, many hear, and often: no warning for each. */
  #unheard(type: string, error: unknown): void {
    this.#parts.logger.debug({ type, problem: errorText(error).slice(0, 500) }, 'a message beside the service could not be handled')
  }

  /** @throws `bus.unsupported`, `bus.not_running`. */
  #light(): LightPlane {
    const { inner } = this.#parts.transport
    const { problem } = this
    if (problem !== undefined) throw new TrunklineError('bus.unsupported', { adapter: inner.name, capability: 'canBroadcast', needed: 'discovery' })
    if (inner.light === undefined) throw new TrunklineError('bus.not_running', { operation: 'the light plane', state: 'closed' })
    return inner.light
  }
}
