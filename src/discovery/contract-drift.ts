import { z } from 'zod'
import type { BusView } from '../bus/port.ts'
import { incompatibilities } from '../contract/compare.ts'
import type { Contract, EventContract, QueryContract } from '../contract/contract.ts'
import { type CallTypes, type EventTypes, event, query } from '../contract/define.ts'
import type { Schema } from '../contract/schema.ts'
import { errorText } from '../core/errors.ts'
import { TYPE_LENGTH_MAX } from '../core/limits.ts'
import { type ContractUse, TEXT_LENGTH_MAX } from './announcement.ts'
import type { Instance } from './directory-state.ts'

const text = z.string().max(TEXT_LENGTH_MAX)

/** One side of a drift. */
export interface DriftSide {
  readonly service: string
  readonly instance: string
  /** Version of the service. */
  readonly version: string
  /** Version of its contract. */
  readonly contractVersion: number
  readonly fingerprint: string
}

/** Two instances whose definitions of one contract cannot work together, found before a message has failed. */
export interface ContractDrift {
  readonly type: string
  /** Which part of the contract: what is sent, or what is answered. */
  readonly part: 'data' | 'reply'
  readonly sender: DriftSide
  readonly receiver: DriftSide
  /** Why what the one sends may not fit the other, by field; at least one. */
  readonly problems: readonly { readonly path: string; readonly problem: string }[]
}

const side: z.ZodType<DriftSide> = z.object({ service: text, instance: text, version: text, contractVersion: z.int(), fingerprint: text })
const drift: z.ZodType<ContractDrift> = z.object({
  type: z.string().max(TYPE_LENGTH_MAX), part: z.enum(['data', 'reply']), sender: side, receiver: side,
  problems: z.array(z.object({ path: text, problem: text })).max(20),
})

/** Broadcast when two running instances are found to disagree about a contract. */
export const ContractDriftDetected: EventContract<'trunkline.contract-drift-detected', EventTypes<z.ZodType<ContractDrift>>> =
  event('trunkline.contract-drift-detected', { schema: drift })

/** A contract as its instance has it. */
export interface ShownContract {
  /** JSON Schemas; left out where the schema library cannot say them. */
  readonly data?: Record<string, unknown> | undefined
  readonly reply?: Record<string, unknown> | undefined
}

/** Which contract is asked for. */
export interface ShowContractRequest {
  readonly type: string
}

const shown: z.ZodType<ShownContract> = z.object({ data: z.record(z.string(), z.unknown()).optional(), reply: z.record(z.string(), z.unknown()).optional() })
const showRequest: z.ZodType<ShowContractRequest> = z.object({ type: z.string().max(TYPE_LENGTH_MAX) })

/** Asks one instance for its definition of a contract. */
export const ShowContract: QueryContract<'trunkline.show-contract', CallTypes<z.ZodType<ShowContractRequest>, z.ZodType<ShownContract>, Record<never, Schema>>> =
  query('trunkline.show-contract', { request: showRequest, response: shown })

/** Time for an instance to show a contract, in milliseconds. */
const SHOW_MS = 5_000
/** Pairs of definitions that are remembered as compared. */
const PAIRS_MAX = 10_000
const PROBLEM_LENGTH_MAX = 400

/** A difference that is to be looked into. */
interface Suspicion {
  readonly contract: Contract
  readonly theirs: ContractUse
  readonly isSentHere: boolean
}

/** Compares what this instance sends and handles with what others do, once for each pair of definitions. */
export class DriftWatch {
  readonly #view: BusView
  readonly #self: string
  readonly #found: (drift: ContractDrift) => void
  readonly #compared = new Set<string>()

  constructor(view: BusView, self: string, found: (drift: ContractDrift) => void) {
    this.#view = view
    this.#self = self
    this.#found = found
  }

  /** This instance's own definition. */
  show(type: string): ShownContract {
    const { accepts, sends } = this.#view.contracts()
    const contract = [...accepts, ...sends].find((one) => one.type === type)
    return { data: contract?.jsonSchema, reply: contract?.replyJsonSchema }
  }

  /** Compares with another instance. Never rejects. */
  async compareWith(other: Instance): Promise<void> {
    if (other.instance === this.#self) return
    const { accepts, sends } = this.#view.contracts()
    const suspicions = [...suspicionsOf(accepts, other.sends, false), ...suspicionsOf(sends, other.accepts, true)]
    for (const suspicion of suspicions) {
      const { contract, theirs, isSentHere } = suspicion
      const pair = `${contract.type} ${contract.fingerprint} ${theirs.fingerprint} ${isSentHere}`
      if (this.#compared.has(pair) || this.#compared.size >= PAIRS_MAX) continue
      this.#compared.add(pair)
      try {
        await this.#compare(suspicion, other)
      } catch (error) {
        // Another time: it may have been about to stop.
        this.#compared.delete(pair)
        this.#view.logger.debug({ problem: errorText(error).slice(0, 200), type: contract.type }, 'a contract could not be compared')
      }
    }
  }

  async #compare({ contract, theirs, isSentHere }: Suspicion, other: Instance): Promise<void> {
    const mine: DriftSide = { service: this.#view.service.name, instance: this.#self, version: this.#view.service.version, contractVersion: contract.version, fingerprint: contract.fingerprint }
    const { service, instance, version } = other
    const their: DriftSide = { service, instance, version, contractVersion: theirs.version, fingerprint: theirs.fingerprint }
    const [sender, receiver] = isSentHere ? [mine, their] : [their, mine]
    // An older version is lifted by the receiver; that is what versions are for.
    if (sender.contractVersion < receiver.contractVersion) return
    if (sender.contractVersion > receiver.contractVersion) {
      const problem = `version ${sender.contractVersion} is sent, and the receiver knows versions up to ${receiver.contractVersion}`
      this.#found({ type: contract.type, part: 'data', sender, receiver, problems: [{ path: '', problem }] })
      return
    }
    const address = other.addresses['bus'] ?? ''
    // The contract's schema validates answers.
    const remote = (await this.#view.side.ask(ShowContract, { type: contract.type }, { timeoutMs: SHOW_MS, to: address })) as ShownContract
    const tell = (part: ContractDrift['part'], from: DriftSide, to: DriftSide, sent: Record<string, unknown> | undefined, taken: Record<string, unknown> | undefined): void => {
      if (sent === undefined || taken === undefined) return
      const problems = incompatibilities(sent, taken).map(({ path, problem }) => ({ path: path.slice(0, PROBLEM_LENGTH_MAX), problem: problem.slice(0, PROBLEM_LENGTH_MAX) }))
      if (problems.length > 0) this.#found({ type: contract.type, part, sender: from, receiver: to, problems })
    }
    if (isSentHere) tell('data', mine, their, contract.jsonSchema, remote.data)
    else tell('data', their, mine, remote.data, contract.jsonSchema)
    // Answers go the other way.
    if (isSentHere) tell('reply', their, mine, remote.reply, contract.replyJsonSchema)
    else tell('reply', mine, their, contract.replyJsonSchema, remote.reply)
  }
}

function suspicionsOf(mine: readonly Contract[], theirs: readonly ContractUse[], isSentHere: boolean): readonly Suspicion[] {
  const byType = new Map(mine.map((contract) => [contract.type, contract]))
  return theirs.flatMap((use) => {
    const contract = byType.get(use.type)
    return contract === undefined || contract.kind !== use.kind || contract.fingerprint === use.fingerprint ? [] : [{ contract, theirs: use, isSentHere }]
  })
}
