"""The extra `imatrix`: llama.cpp's importance matrices."""

import gguf
import numpy as np

from wkmeans.importance import read_imatrix

writer = gguf.GGUFWriter("imatrix.gguf", arch="none")
writer.add_type("imatrix")
writer.add_tensor("blk.0.attn_q.weight.in_sum2", np.full((1, 8), 6.0, np.float32))
writer.add_tensor("blk.0.attn_q.weight.counts", np.full((1, 1), 3.0, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
importance, _ = read_imatrix("imatrix.gguf")["blk.0.attn_q.weight"]
np.testing.assert_allclose(importance.numpy(), 2.0)
