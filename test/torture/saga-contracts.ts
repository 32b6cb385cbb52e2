import { z } from 'zod'
import { command, event, saga, type SagaDefinition } from '../../src/index.ts'

const leg = z.object({ id: z.string(), account: z.string(), cents: z.int().positive() })
const only = z.object({ id: z.string() })
const wanted = z.object({ id: z.string(), from: z.string(), to: z.string(), cents: z.int().positive() })
const key = ({ id }: { readonly id: string }): string => id

/** Somebody wants money to be moved; a saga does it. */
export const TransferWanted = event('torture.transfer-wanted', { schema: wanted, key })
export const Debit = command('torture.debit', { schema: leg, key })
export const Debited = event('torture.debited', { schema: only, key })
export const DebitRefused = event('torture.debit-refused', { schema: only, key })
export const Refund = command('torture.refund', { schema: leg, key })
export const Refunded = event('torture.refunded', { schema: only, key })
export const Credit = command('torture.credit', { schema: leg, key })
export const Credited = event('torture.credited', { schema: only, key })
export const CreditRefused = event('torture.credit-refused', { schema: only, key })
export const TakeBack = command('torture.take-back', { schema: leg, key })
export const TakenBack = event('torture.taken-back', { schema: only, key })
/** Asks somebody who does not always answer. */
export const Confirm = command('torture.confirm', { schema: only, key })
export const Confirmed = event('torture.confirmed', { schema: only, key })

// Where accounts are streams, these stand in them.

/** Somebody wants a transfer, and it was committed. */
export const TransferWished = event('torture.transfer-wished', { schema: wanted })
/** What a step has done to an account. */
export const LegDone = event('torture.leg-done', { schema: z.object({ id: z.string(), place: z.string(), cents: z.int() }) })

/** What an id decides: one in ten debits and one in ten credits are refused, one in ten confirmations never comes, one in ten when the time for it is just over. */
export function fateOf(id: string): 'debit-refused' | 'credit-refused' | 'unconfirmed' | 'confirmed-late' | 'fulfilled' {
  let sum = 0
  for (const letter of id) sum = (sum * 31 + letter.charCodeAt(0)) % 1_000
  return ({ 0: 'debit-refused', 1: 'credit-refused', 2: 'unconfirmed', 3: 'confirmed-late' } as const)[sum % 10] ?? 'fulfilled'
}

/** Nothing but a lost message could make one of these late. */
const NEVER_MS = 900_000
/** Time for a confirmation. */
export const CONFIRM_MS = 2_000

/** Takes, waits a moment, gives, and asks whether that was right: what was done is undone where it was not. */
export const transfer: SagaDefinition = saga('transfer', { state: wanted })
  .startedBy(TransferWanted, { correlate: key, state: (data) => data })
  .step('debit', { timeoutMs: NEVER_MS }, (step) => step
    .send(Debit, ({ id, from, cents }) => ({ id, account: from, cents }))
    .on(Debited, { correlate: key })
    .fails(DebitRefused, { correlate: key })
    .compensate({ timeoutMs: NEVER_MS }, (undo) => undo.send(Refund, (_state, { sent }) => sent).on(Refunded, { correlate: key })))
  .wait('moment', { afterMs: 100 })
  .step('credit', { timeoutMs: NEVER_MS }, (step) => step
    .send(Credit, ({ id, to, cents }) => ({ id, account: to, cents }))
    .on(Credited, { correlate: key })
    .fails(CreditRefused, { correlate: key })
    .compensate({ timeoutMs: NEVER_MS }, (undo) => undo.send(TakeBack, (_state, { sent }) => sent).on(TakenBack, { correlate: key })))
  .step('confirm', { timeoutMs: CONFIRM_MS }, (step) => step
    .send(Confirm, ({ id }) => ({ id }))
    .on(Confirmed, { correlate: key }))
  .end()
