import { z } from 'zod'
import type { CommandContract, ContractTypes, EventContract, QueryContract } from '../contract/contract.ts'
import { command, event, query } from '../contract/define.ts'

/** The types of a contract between one input, one output and their declared errors. */
interface Types<D, R = undefined, E extends Record<string, unknown> = Record<never, unknown>> extends ContractTypes {
  readonly input: D
  readonly output: D
  readonly replyInput: R
  readonly replyOutput: R
  readonly errors: E
}

/** Data of `Ticked` and `Tocked`. */
export interface Tick {
  readonly n: number
  readonly text?: string | undefined
}

/** Data of `Moved` and `Turned`. */
export interface Move {
  readonly key: string
  readonly n: number
}

const tick = z.object({ n: z.int(), text: z.string().optional() })
const move = z.object({ key: z.string(), n: z.int() })

/** An event without a key. */
export const Ticked: EventContract<'conformance.ticked', Types<Tick>> = event('conformance.ticked', { schema: tick })
/** Another one, for groups of several types. */
export const Tocked: EventContract<'conformance.tocked', Types<Tick>> = event('conformance.tocked', { schema: tick })
/** An event with a key; `n` counts within the key. */
export const Moved: EventContract<'conformance.moved', Types<Move>> = event('conformance.moved', { schema: move, key: ({ key }) => key })
/** Another one with the same keys. */
export const Turned: EventContract<'conformance.turned', Types<Move>> = event('conformance.turned', { schema: move, key: ({ key }) => key })

/** A command with a key, an answer and a declared error. */
export const Reserve: CommandContract<'conformance.reserve', Types<Move, { readonly left: number }, { readonly soldOut: { readonly key: string } }>> = command(
  'conformance.reserve',
  { schema: move, key: ({ key }) => key, response: z.object({ left: z.int() }), errors: { soldOut: z.object({ key: z.string() }) } },
)

/** A query with a declared error. */
export const Quote: QueryContract<'conformance.quote', Types<Tick, { readonly text: string }, { readonly unknown: { readonly n: number } }>> = query(
  'conformance.quote',
  { request: tick, response: z.object({ text: z.string() }), errors: { unknown: z.object({ n: z.int() }) } },
)

/** A query that the handler of `Quote` asks in turn. */
export const Weigh: QueryContract<'conformance.weigh', Types<Tick, { readonly text: string }>> = query('conformance.weigh', {
  request: tick,
  response: z.object({ text: z.string() }),
})

/** The first version of a note. */
export const NotedFirst: EventContract<'conformance.noted', Types<{ readonly text: string }>> = event('conformance.noted', {
  schema: z.object({ text: z.string() }),
})

/** Its second version, which reads the first one too. */
export const NotedSecond: EventContract<'conformance.noted', Types<{ readonly text: string; readonly size: number }>> = event('conformance.noted', {
  version: 2,
  schema: z.object({ text: z.string(), size: z.int() }),
  upcast: { 1: (first: { readonly text: string }) => ({ ...first, size: first.text.length }) },
})

/** The type of `Ticked` with a schema that lets more through. */
export const LooseTicked: EventContract<'conformance.ticked', Types<unknown>> = event('conformance.ticked', { schema: z.unknown() })

/** The query of `Quote` with a schema that lets more through. */
export const LooseQuote: QueryContract<'conformance.quote', Types<unknown, unknown>> = query('conformance.quote', {
  request: z.unknown(),
  response: z.unknown(),
})
