import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { incompatibilities } from '../../src/contract/compare.ts'
import { event } from '../../src/index.ts'

function between(sent: z.ZodType, taken: z.ZodType): readonly string[] {
  const schemaOf = (schema: z.ZodType): Record<string, unknown> => event('a.b', { schema }).jsonSchema ?? {}
  return incompatibilities(schemaOf(sent), schemaOf(taken)).map(({ path, problem }) => `${path}: ${problem}`)
}

const base = z.object({ orderId: z.string(), total: z.int().nonnegative(), lines: z.array(z.object({ sku: z.string() })) })

describe('what fits', () => {
  test.each([
    ['the same', base, base],
    ['a field more at the sender', base.extend({ note: z.string() }), base],
    ['an optional field more at the receiver', base, base.extend({ note: z.string().optional() })],
    ['a field with a default at the receiver', base, base.extend({ note: z.string().default('') })],
    ['a narrower type at the sender', z.object({ n: z.int() }), z.object({ n: z.number() })],
    ['fewer values at the sender', z.object({ c: z.enum(['a']) }), z.object({ c: z.enum(['a', 'b']) })],
    ['a narrower bound at the sender', z.object({ n: z.number().min(5).max(6) }), z.object({ n: z.number().min(1).max(10) })],
    ['one of the branches', z.object({ n: z.string() }), z.object({ n: z.union([z.string(), z.number()]) })],
    ['null where null is taken', z.object({ n: z.string().nullable() }), z.object({ n: z.string().nullable() })],
    ['values of a record', z.record(z.string(), z.int()), z.record(z.string(), z.number())],
    ['what is unknown', z.any(), base],
  ])('%s', (_what, sent, taken) => {
    expect(between(sent, taken)).toEqual([])
  })
})

describe('what does not fit names the field', () => {
  test.each([
    ['total: it is sent as string and taken as integer', base.extend({ total: z.string() }), base],
    ['currency: the receiver needs it and the sender does not know it', base, base.extend({ currency: z.string() })],
    ['orderId: the receiver needs it and the sender may leave it out', base.partial({ orderId: true }), base],
    ['lines.*.sku: it is sent as number and taken as string', base.extend({ lines: z.array(z.object({ sku: z.number() })) }), base],
    ['c: it may be "b", which is not taken', z.object({ c: z.enum(['a', 'b']) }), z.object({ c: z.enum(['a']) })],
    ['c: it may be any string, and only "a" is taken', z.object({ c: z.string() }), z.object({ c: z.literal('a') })],
    ['n: maximum is 5 for the receiver and 10 for the sender', z.object({ n: z.number().max(10) }), z.object({ n: z.number().max(5) })],
    ['n: it is sent as null and taken as string', z.object({ n: z.string().nullable() }), z.object({ n: z.string() })],
    ['extra: the sender sends it and the receiver refuses fields that it does not know', z.object({ extra: z.string() }), z.strictObject({})],
    ['*: it is sent as string and taken as number', z.record(z.string(), z.string()), z.record(z.string(), z.number())],
  ])('%s', (problem, sent, taken) => {
    expect(between(sent, taken)).toEqual([problem])
  })
})

test('ends with recursive schemas', () => {
  interface Tree { readonly n: number; readonly left?: Tree | undefined }
  const tree: z.ZodType<Tree> = z.object({ n: z.number(), get left() { return tree.optional() } })
  const other: z.ZodType = z.object({ n: z.string(), get left() { return other.optional() } })
  expect(between(tree, tree)).toEqual([])
  expect(between(tree, other)[0]).toBe('n: it is sent as number and taken as string')
})
