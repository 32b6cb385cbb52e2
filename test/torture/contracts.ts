import { z } from 'zod'
import { event } from '../../src/index.ts'

const transfer = z.object({ id: z.string(), from: z.string(), to: z.string(), cents: z.int().positive(), n: z.int().positive() })

/** Somebody asked for money to be moved: the `n`-th time from this account. */
export const TransferRequested = event('torture.transfer-requested', { schema: transfer, key: ({ from }) => from, visibility: 'public' })
/** It was moved. */
export const TransferDone = event('torture.transfer-done', { schema: transfer, key: ({ from }) => from })
/** The same in the stream of the account that it left. */
export const MoneyMoved = event('torture.money-moved', { schema: z.object({ id: z.string(), n: z.int().positive(), cents: z.int() }) })

// Where accounts are streams, these stand beside it.

/** The `n`-th transfer that an account was asked for. */
export const TransferAsked = event('torture.transfer-asked', { schema: transfer })
/** Money came in from another account. */
export const MoneyReceived = event('torture.money-received', { schema: transfer })
/** Who follows the log has seen it. */
export const Tallied = event('torture.tallied', { schema: z.object({ id: z.string(), n: z.int().positive() }) })
