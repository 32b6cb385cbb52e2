import { z } from 'zod'
import { event } from '../../src/index.ts'

const transfer = z.object({ id: z.string(), from: z.string(), to: z.string(), cents: z.int().positive(), n: z.int().positive() })

/** Somebody asked for money to be moved: the `n`-th time from this account. */
export const TransferRequested = event('torture.transfer-requested', { schema: transfer, key: ({ from }) => from, visibility: 'public' })
/** It was moved. */
export const TransferDone = event('torture.transfer-done', { schema: transfer, key: ({ from }) => from })
/** The same in the stream of the account. */
export const MoneyMoved = event('torture.money-moved', { schema: z.object({ id: z.string(), n: z.int().positive(), cents: z.int() }) })
