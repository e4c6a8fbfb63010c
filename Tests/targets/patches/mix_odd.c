/* The old function doubles, this one doubles and adds one: the parity of a result names the version that made it. */
long mix_odd(long a, long b, long c, long d, long e, long f, long g, long h, double p, double q, double r, double s,
  double t, double u, double v, double w, double x, double y) {
  long sum = a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
  return 2 * (sum + (long)(p + 2 * q + 3 * r + 4 * s + 5 * t + 6 * u + 7 * v + 8 * w + 9 * x + 10 * y)) + 1;
}
