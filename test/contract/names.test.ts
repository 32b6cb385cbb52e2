import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bucketOf, checkedName, hasControls, idProblem, isName, isTenant, isTypeName, keyProblem, splitType, tokenOf, tokenText } from '../../src/contract/names.ts'

const wellFormed = fc.string({ unit: 'binary' })

describe('isTypeName', () => {
  test.each(['sales.order-placed', 'a.b', 'a1.b2-c3', 'constructor.x', `${'a'.repeat(49)}.${'b'.repeat(50)}`])('takes %s', (text) => {
    expect(isTypeName(text)).toBe(true)
  })

  // B27 and B28: what would be a wildcard, another subject, or no subject at all.
  test.each([
    '', ' ', 'a', 'a..b', '.a', 'a.', '*', '>', '#', 'a.*', 'a.>', 'a.#', '$SYS.x', '$JS.API.x', 'a.b.c', 'A.b', 'a.B', '1a.b', 'a.1b', 'a-.b', 'a.-b', 'a--b.c',
    'a.b\n', 'a.b ', 'ä.b', 'a_b.c', 'constructor', '__proto__', '__proto__.x', `a.${'b'.repeat(300)}`, `${'a'.repeat(50)}.${'b'.repeat(50)}`,
  ])('refuses %j', (text) => {
    expect(isTypeName(text)).toBe(false)
  })

  test.each([undefined, null, 5, {}, ['a.b']])('refuses %j, which a caller without types may give', (value) => {
    expect(Reflect.apply(isTypeName, undefined, [value])).toBe(false)
  })

  test('splits into its two halves', () => {
    expect(splitType('sales.order-placed')).toEqual({ context: 'sales', name: 'order-placed' })
  })
})

describe('names', () => {
  test.each(['shop', 'a', 'shop-2', 'shop_eu-1', 'a'.repeat(60)])('take %s', (text) => {
    expect(isName(text)).toBe(true)
    expect(checkedName('group', text)).toBe(text)
  })

  test.each(['', ' ', 'Shop', '1shop', 'a.b', 'a--b', 'a-', '_a', 'a b', '*', '>', 'a\n', 'a/b', '..', 'ä', 'a'.repeat(61)])('refuse %j', (text) => {
    expect(isName(text)).toBe(false)
    expect(() => checkedName('group', text)).toThrow(expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option: 'group' }) }))
  })

  test.each([undefined, null, 5, {}])('refuse %j, which a caller without types may give', (value) => {
    expect(() => Reflect.apply(checkedName, undefined, ['group', value])).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })
})

describe('tenants', () => {
  test.each(['a', '0', 'acme', 'acme-1', 'a'.repeat(63)])('take %s', (text) => {
    expect(isTenant(text)).toBe(true)
  })

  // B30: what could leave the tenant's part of a subject or a path.
  test.each(['', '../other', 'a.b', '*', '>', 'A', '-a', 'a-', 'a_b', 'a ', 'a\n', 'a'.repeat(64)])('refuse %j', (text) => {
    expect(isTenant(text)).toBe(false)
  })
})

describe('keys and ids', () => {
  // B29 and B31: any text that people use as a key is one; two spellings of one glyph are two keys.
  test.each(['a', 'a.b', '*', '>', 'with blank', '😀', 'é', 'e\u0301', 'x'.repeat(255), '__proto__', '"', '%', '\u00a0'])('a key can be %j', (key) => {
    expect(keyProblem(key)).toBeUndefined()
  })

  test.each<readonly [unknown, string]>([
    [undefined, 'not a string'], [5, 'not a string'], ['', 'empty'], ['x'.repeat(256), 'longer'], ['ü'.repeat(128), 'longer'], ['x'.repeat(10_240), 'longer'],
    ['a\u0000', 'control'], ['a\r\nb', 'control'], ['\u007f', 'control'], ['\u0085', 'control'], ['\ud800', 'control'],
    ['😀\r\nNats-Rollup: all', 'control'],
  ])('a key cannot be %j', (key, problem) => {
    expect(keyProblem(key)).toContain(problem)
  })

  test.each<readonly [unknown, string]>([[undefined, 'empty'], ['', 'empty'], [5, 'empty'], ['x'.repeat(256), 'longer'], ['a\nb', 'control'], ['😀\n', 'control']])(
    'an id cannot be %j (B32)',
    (id, problem) => {
      expect(idProblem(id)).toContain(problem)
    },
  )

  test('control characters are found wherever they stand, and nothing else is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.constantFrom('\u0000', '\n', '\r', '\u001f', '\u007f', '\u0080', '\u009f', '\ud800', '\udc00'), fc.string({ unit: 'grapheme-ascii' }), (before, control, after) => {
        expect(hasControls(`${before} ${control}${after}`)).toBe(true)
      }),
    )
    fc.assert(fc.property(fc.string({ unit: 'grapheme-composite' }), (text) => {
      // oxlint-disable-next-line no-control-regex -- the control characters are what is looked for
      expect(hasControls(text)).toBe(/[\u0000-\u001f\u007f-\u009f]/.test(text) || !text.isWellFormed())
    }))
  })
})

describe('tokens', () => {
  test('hold any text, use only letters, digits, "_", "-" and "=", and give the text back', () => {
    fc.assert(
      fc.property(wellFormed, (text) => {
        const token = tokenOf(text)
        expect(token).toMatch(/^[A-Za-z0-9_=-]+$/)
        expect(tokenText(token)).toBe(text)
      }),
    )
  })

  test('of two texts differ', () => {
    fc.assert(fc.property(wellFormed, wellFormed, (left, right) => (tokenOf(left) === tokenOf(right)) === (left === right)))
  })

  test('are the same on every machine', () => {
    expect([tokenOf(''), tokenOf('a-B_9'), tokenOf('a.b'), tokenOf('='), tokenOf('ü *')]).toEqual(['=', 'a-B_9', 'a=2Eb', '=3D', '=C3=BC=20=2A'])
  })
})

describe('bucketOf', () => {
  // Computed with another program: FNV-1a, 32 bits, over UTF-8, modulo 64. Part of the wire format.
  test.each<readonly [string, number]>([
    ['a', 44], ['b', 37], ['foobar', 40], ['order-1', 45], ['order-2', 52], ['Grüße', 56], ['😀', 8], ['536365', 19], ['key with blank', 18], ['x'.repeat(255), 63],
  ])('puts %j into bucket %d', (key, bucket) => {
    expect(bucketOf(key)).toBe(bucket)
  })

  test('agrees with the plain formula for every text', () => {
    fc.assert(
      fc.property(wellFormed, (key) => {
        let hash = 0x811c9dc5n
        for (const byte of Buffer.from(key)) hash = ((hash ^ BigInt(byte)) * 0x01000193n) & 0xffffffffn
        expect(bucketOf(key)).toBe(Number(hash % 64n))
      }),
    )
  })

  test('spreads keys over all buckets', () => {
    const counts = new Map<number, number>()
    for (let order = 0; order < 6_400; order++) {
      const bucket = bucketOf(`order-${order}`)
      counts.set(bucket, (counts.get(bucket) ?? 0) + 1)
    }
    expect(counts.size).toBe(64)
    expect(Math.max(...counts.values())).toBeLessThan(300)
  })
})
