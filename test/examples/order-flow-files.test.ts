import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LINE_BYTES_MAX, csvRecords, fieldText, fieldsOf, type Chunks } from '../../examples/order-flow/csv.ts'
import { invoiceTexts, type Totals } from '../../examples/order-flow/generator.ts'
import { COLUMNS, PART_LINES_MAX, fileItems, readLine, type FileItem } from '../../examples/order-flow/invoices.ts'
import { amountOf, amountText, isAmount, priceOf } from '../../examples/order-flow/money.ts'

const HEADER = COLUMNS.join(',')

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size))
}

function textFile(text: string, size = 7): () => Chunks {
  return () => chunksOf(Buffer.from(text), size)
}

async function all<T>(source: AsyncIterable<T>): Promise<readonly T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

function line(invoiceNo: string, more: { readonly quantity?: string; readonly price?: string; readonly customer?: string; readonly description?: string } = {}): string {
  const { quantity = '1', price = '2.50', customer = '17850', description = 'LANTERN' } = more
  return [invoiceNo, '85123A', description, quantity, '2010-12-01T08:26:00Z', price, customer, 'United Kingdom'].map(fieldText).join(',')
}

describe('money', () => {
  test('adds and multiplies as whole numbers do', () => {
    const priceText = fc.tuple(fc.bigInt({ min: -(10n ** 12n), max: 10n ** 12n }), fc.nat(9))
    fc.assert(
      fc.property(fc.array(fc.tuple(priceText, fc.integer({ min: -100_000, max: 100_000 })), { maxLength: 30 }), (articles) => {
        // The independent side: everything over one common denominator of 10^9, written with string arithmetic.
        let expected = 0n
        let sum = 0n
        for (const [[units, decimals], quantity] of articles) {
          expected += units * 10n ** BigInt(9 - decimals) * BigInt(quantity)
          sum += priceOf(amountOf(decimalText(units, decimals)), quantity)
        }
        expect(sum).toBe(expected)
        expect(amountOf(amountText(sum))).toBe(expected)
      }),
    )
  })

  function decimalText(units: bigint, decimals: number): string {
    const digits = (units < 0n ? -units : units).toString().padStart(decimals + 1, '0')
    const whole = digits.slice(0, digits.length - decimals)
    return `${units < 0n ? '-' : ''}${whole}${decimals === 0 ? '' : `.${digits.slice(-decimals)}`}`
  }

  test.each([['2.55', '2.55'], ['3', '3.00'], ['-0.001', '-0.001'], ['0', '0.00'], ['-0', '0.00'], ['184248.330000000', '184248.33'], ['0.10', '0.10']])('writes %s as %s', (text, written) => {
    expect(amountText(amountOf(text))).toBe(written)
  })

  test.each(['', ' 1', '1e3', '1,5', '.5', '5.', '+1', '0x10', 'NaN', '1.0000000001', '--1', '٣'])('%j is no amount', (text) => {
    expect(isAmount(text)).toBe(false)
    expect(() => amountOf(text)).toThrow(RangeError)
  })
})

describe('records', () => {
  test('what was written as a record is read as the same fields, in chunks of any size', async () => {
    const field = fc.string({ maxLength: 12, unit: fc.constantFrom('a', 'é', '"', ',', ' ', '\n', '€') })
    const record = fc.array(field, { minLength: 3, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(fc.array(record, { maxLength: 5 }), fc.integer({ min: 1, max: 20 }), async (records, size) => {
        // A record that looks like an empty line is passed over by design; more line breaks than a record may span are refused.
        fc.pre(records.every((fields) => fields.map(fieldText).join(',').split('\n').length <= 8))
        const text = records.map((fields) => `${fields.map(fieldText).join(',')}\n`).join('')
        const read = await all(csvRecords(chunksOf(Buffer.from(text), size), { columns: 3 }))
        expect(read.map((item) => (item.kind === 'fields' ? item.fields : item.problem))).toEqual(records)
      }),
    )
  })

  test('a quote inside a field and text after a closing quote are kept', () => {
    expect(fieldsOf('a,12" RULER,"b"c,"say ""yes"""')).toEqual(['a', '12" RULER', 'bc', 'say "yes"'])
    expect(fieldsOf('a,"b')).toBeUndefined()
    expect(fieldsOf('')).toEqual([''])
    expect(fieldsOf('a,')).toEqual(['a', ''])
  })

  test('a quote that is not closed costs its line and no other', async () => {
    const read = await all(csvRecords(textFile('1,"oops,3\n4,5,6\n7,"x" y,9\n')(), { columns: 3 }))
    expect(read.map((item) => [item.line, item.kind])).toEqual([[1, 'broken'], [2, 'fields'], [3, 'fields']])
  })

  test('a byte order mark, carriage returns, empty lines and a missing last line break do no harm', async () => {
    const read = await all(csvRecords(textFile('\uFEFFa,b\r\n\r\n\n"c\r\nd",e')(), { columns: 2 }))
    expect(read.map((item) => (item.kind === 'fields' ? [item.line, item.fields] : item))).toEqual([[1, ['a', 'b']], [4, ['c\nd', 'e']]])
  })

  test('a line beyond the limit and one that is no UTF-8 are refused with the reason', async () => {
    const bytes = Buffer.concat([Buffer.from('a,b\n'), Buffer.alloc(LINE_BYTES_MAX * 3, 'x'), Buffer.from('\nc,'), Buffer.from([0xff, 0xfe]), Buffer.from('\nd,e\n')])
    const read = await all(csvRecords(chunksOf(bytes, 10_000), { columns: 2 }))
    expect(read.map((item) => (item.kind === 'broken' ? [item.line, item.problem] : [item.line, 'ok']))).toEqual([
      [1, 'ok'], [2, `the line has ${LINE_BYTES_MAX * 3} bytes; ${LINE_BYTES_MAX} are allowed`], [3, 'the line is not UTF-8'], [4, 'ok'],
    ])
    expect(read[1]?.text.length).toBeLessThanOrEqual(1_000)
  })
})

describe('invoices of a file', () => {
  async function itemsOf(lines: readonly string[], fromLine = 1): Promise<readonly FileItem[]> {
    return await all(fileItems(textFile([HEADER, ...lines, ''].join('\n'), 1_000), fromLine))
  }

  function shape(items: readonly FileItem[]): readonly unknown[] {
    return items.map((item) => (item.kind === 'invoice' ? [item.line, item.invoice.invoiceNo, item.invoice.lines.length] : [item.line, item.problem]))
  }

  test('consecutive lines of one number are one invoice, and a number that comes again is another part of it', async () => {
    const items = await itemsOf([line('1'), line('1'), line('C2', { quantity: '-1' }), line('1')])
    expect(shape(items)).toEqual([[2, '1', 2], [4, 'C2', 1], [5, '1', 1]])
  })

  test('a broken line does not end the invoice that it stands in', async () => {
    const items = await itemsOf([line('1'), 'garbage', line('1'), line('2', { price: 'free' }), line('3')])
    expect(shape(items)).toEqual([
      [3, 'the line has 1 fields, not 8'], [5, 'unit_price "free" is not a decimal number with at most nine decimals'], [2, '1', 2], [6, '3', 1],
    ])
  })

  test('what real books hold is admitted', () => {
    for (const more of [{ customer: '' }, { description: '' }, { price: '0' }, { quantity: '0' }, { quantity: '-10', price: '0' }, { price: '-11062.06' }, { price: '0.001' }]) {
      expect(typeof readLine(fieldsOf(line('A563186', more)) ?? [])).toBe('object')
    }
  })

  test.each([
    [line('536365x'), 'invoice_no'], [line('1', { quantity: '1.5' }), 'quantity'], [line('1', { quantity: '' }), 'quantity'], [line('1', { price: '1e3' }), 'unit_price'],
    [line('1').replace('12-01', '13-01'), 'invoice_date'], [line('1').replace('12-01', '02-30'), 'invoice_date'], [line('1', { customer: 'a b' }), 'customer_id'],
    [line('1').replace('85123A', ''), 'stock_code'], [`${line('1')},x`, '9 fields'],
  ])('refuses %s', (text, word) => {
    expect(readLine(fieldsOf(text) ?? [])).toContain(word)
  })

  test('a large invoice comes in parts', async () => {
    const items = await itemsOf(Array.from({ length: PART_LINES_MAX * 2 + 1 }, () => line('1')))
    expect(shape(items)).toEqual([[2, '1', PART_LINES_MAX], [2 + PART_LINES_MAX, '1', PART_LINES_MAX], [2 + 2 * PART_LINES_MAX, '1', 1]])
  })

  test('reading on from any recorded line gives the items that were still to come, and none twice under another number', async () => {
    const text = fc.array(fc.constantFrom(line('1'), line('2'), line('C3', { quantity: '-1' }), 'broken', '"open', line('4', { description: 'two\nlines' })), { maxLength: 25 })
    await fc.assert(
      fc.asyncProperty(text, async (lines) => {
        const items = await itemsOf(lines)
        for (const [at, { resumeLine }] of items.entries()) {
          const rest = await itemsOf(lines, resumeLine)
          const wanted = items.slice(at + 1).map((item) => item.line)
          const repeated = items.slice(0, at + 1)
          // All that is missing is there; what comes again is the same under the same number.
          expect(rest.map((item) => item.line)).toEqual(expect.arrayContaining(wanted))
          for (const item of rest) if (!wanted.includes(item.line)) expect(repeated).toContainEqual({ ...item, resumeLine: expect.any(Number) })
        }
      }),
    )
  })

  test('a file with another first line is refused', async () => {
    await expect(all(fileItems(textFile('a,b\n1,2\n'), 1))).rejects.toThrow('the first line of the file is not: invoice_no,')
    await expect(all(fileItems(textFile(''), 1))).rejects.toThrow('the first line')
  })
})

describe('generated invoices', () => {
  function generated(seed: number, invoices: number): { readonly text: string; readonly totals: Totals } {
    const texts = invoiceTexts(seed, invoices)
    let text = ''
    for (;;) {
      const { done, value } = texts.next()
      if (done === true) return { text, totals: value }
      text += value
    }
  }

  test.each([1, 2, 77])('the totals of seed %i are those of its lines', async (seed) => {
    const { text, totals } = generated(seed, 300)
    const numbers = new Set<string>()
    const sums = { sale: 0n, cancellation: 0n }
    for (const item of await all(fileItems(textFile(text, 50_000), 1))) {
      if (item.kind === 'refused') throw new Error(`line ${item.line}: ${item.problem}`)
      const { invoiceNo, lines } = item.invoice
      numbers.add(invoiceNo)
      for (const { unitPrice, quantity } of lines) sums[invoiceNo.startsWith('C') ? 'cancellation' : 'sale'] += amountOf(unitPrice) * BigInt(quantity)
    }
    const cancellations = [...numbers].filter((number) => number.startsWith('C')).length
    expect({ invoices: numbers.size, cancellations, gross: amountText(sums.sale), cancelled: amountText(sums.cancellation) }).toEqual(totals)
  })

  test('one seed gives one text, another seed another, and all the untidiness is in it', () => {
    const { text } = generated(1, 400)
    expect(generated(1, 400).text).toBe(text)
    expect(generated(2, 400).text).not.toBe(text)
    for (const sign of [/^C\d+,/m, /^A\d+,.*,-\d+(\.\d+)?,/m, /,,United Kingdom$/m, /,,\d+,20/m, /,-\d+,[^,]+,0,/m, /""DELUXE""/, /,\d+\.\d{3},/]) expect(text).toMatch(sign)
  })
})
