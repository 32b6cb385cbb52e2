// Money as whole numbers of the ninth decimal: exact sums and products, whatever decimals a price list uses.

const DECIMALS = 9
const ONE = 10n ** BigInt(DECIMALS)
const TEXT = /^(-?)(\d{1,30})(?:\.(\d{1,9}))?$/

/** An amount or a price, in units of 10^-9. */
export type Amount = bigint

/** True for texts like `2.55`, `-0.001` and `7`; not for exponents, nor for more than nine decimals. */
export function isAmount(text: string): boolean {
  return TEXT.test(text)
}

/**
 * Reads the text of an amount.
 *
 * @throws a `RangeError` where `isAmount` is false: a sum must not go on without it.
 */
export function amountOf(text: string): Amount {
  const parts = TEXT.exec(text)
  if (parts === null) throw new RangeError(`${JSON.stringify(text.slice(0, 60))} is not an amount`)
  const [, sign, whole = '', decimals = ''] = parts
  const units = BigInt(whole) * ONE + BigInt(decimals.padEnd(DECIMALS, '0'))
  return sign === '-' ? -units : units
}

/** Writes an amount with all the decimals it has, and two at least: `184248.33`, `0.00`, `-1.125`. */
export function amountText(amount: Amount): string {
  const units = amount < 0n ? -amount : amount
  const decimals = (units % ONE).toString().padStart(DECIMALS, '0').replace(/0+$/, '').padEnd(2, '0')
  return `${amount < 0n ? '-' : ''}${units / ONE}.${decimals}`
}

/** Price of a whole number of pieces. */
export function priceOf(unitPrice: Amount, quantity: number): Amount {
  return unitPrice * BigInt(quantity)
}
